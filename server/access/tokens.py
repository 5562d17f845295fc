"""A student's token: signed, short-lived, and good for one session only."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import jwt
import structlog

from server.access.files import OTHERS_READ, OTHERS_WRITE, write_private
from server.problems import ProblemError

log = structlog.get_logger(__name__)

ALGORITHM = "HS256"
USE = "session"
SECRET_BYTES = 32
_FORM = re.compile(r"[A-Za-z0-9_-]{1,200}\.[A-Za-z0-9_-]{1,600}\.[A-Za-z0-9_-]{1,200}")
_CLAIMS = ("sub", "exp", "iat", "use")


class Tokens:
    """Makes and checks them (JWT, HS256: sub is the session's id, use is "session")."""

    def __init__(self, secret: bytes, seconds: float, clock: Callable[[], float] = time.time) -> None:
        """seconds: how long one is good for."""
        self._secret = secret
        self._seconds = seconds
        self._clock = clock

    @classmethod
    def unshared(cls, seconds: float = 7200.0) -> Tokens:
        """With a secret that nobody else knows and that is gone with this object."""
        return cls(secrets.token_bytes(SECRET_BYTES), seconds)

    def issue(self, session_id: str) -> tuple[str, float]:
        """A token for the session, and until when it is good (time.time())."""
        now = self._clock()
        expires = int(now + self._seconds)
        claims = {"sub": session_id, "iat": int(now), "exp": expires, "use": USE}
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM), float(expires)

    def check(self, session_id: str, token: str | None) -> None:
        """Passes the session's own token. 401 wrong_token: any other; token_expired: its own, but too old."""
        claims = self._claims(token)
        if claims is None or claims["use"] != USE or claims["sub"] != session_id:
            raise ProblemError(401, "wrong_token", "This session needs its own engine_token.", headers=_BEARER)
        expires = claims["exp"]
        if not isinstance(expires, int) or expires <= self._clock():
            raise ProblemError(
                401,
                "token_expired",
                "This engine_token has expired. While it is good, POST …/token gives a fresh one; a service's or an "
                "admin's key does so at any time.",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token", error_description="The token expired"'},
            )

    def _claims(self, token: str | None) -> dict[str, object] | None:
        """What is in a token that was signed here; None: it was not."""
        if token is None or not _FORM.fullmatch(token):
            return None
        try:
            claims: dict[str, object] = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                # By our clock, and after the session is compared: else an expired token would tell of other sessions.
                options={"require": list(_CLAIMS), "verify_exp": False, "verify_iat": False},
            )
        except jwt.PyJWTError:
            return None
        return claims


_BEARER = {"WWW-Authenticate": "Bearer"}


def secret_in(path: Path) -> bytes:
    """The secret of that file, made now if there is none. Raises OSError; ValueError: it is damaged. Blocking."""
    try:
        mode = path.stat().st_mode
        found = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        made = secrets.token_bytes(SECRET_BYTES)
        write_private(path, made.hex().encode() + b"\n")
        return made
    except ValueError as error:
        raise ValueError(f"{path}: the secret of the tokens is damaged. Delete the file; it is made anew.") from error
    if len(found) < SECRET_BYTES:
        raise ValueError(f"{path}: the secret of the tokens is too short. Delete the file; it is made anew.")
    if mode & (OTHERS_READ | OTHERS_WRITE):
        raise ValueError(f"{path}: other users may read it, and so make tokens. Run: chmod 600 {path}")
    return found
