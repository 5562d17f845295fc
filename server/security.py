"""What each route asks first: may this caller do that? Exactly one of these, before anything of the body is read."""

from __future__ import annotations

from aiohttp import web

from server.access.caller import CALLER, address_of, bearer, by_proxy, identify, token_of
from server.access.keys import Caller
from server.access.roles import DUTIES, Role, may
from server.keys import KEYS, SESSIONS
from server.problems import ProblemError
from server.sessions import Session

__all__ = ["address_of", "bearer", "require_admin", "require_service", "require_teacher", "session_of", "token_of"]


def require_admin(request: web.Request) -> Caller:
    """Let pass who runs the server: /v1/admin, retention. 401 unauthorized, 403 forbidden."""
    return _require(request, "admin")


def require_service(request: web.Request) -> Caller:
    """Let pass the school's own server, and admins: all sessions, students' records, figures. 401, 403."""
    return _require(request, "service")


def require_teacher(request: web.Request) -> Caller:
    """Let pass teachers, the school's own server and admins: avatars, tutors, a session to try one. 401, 403."""
    return _require(request, "teacher")


def session_of(request: web.Request, *, token_only: bool = False) -> Session:
    """The session in the address, for who has its token, or a service's or an admin's key.

    token_only: only the token will do (WHEP, WebSocket). A token that is wrong is refused in any case.
    404 session_not_found; 401 unauthorized, wrong_token, token_expired; 403 forbidden (a teacher's key).
    """
    sessions = request.app[SESSIONS]
    session_id = request.match_info["session_id"]
    if not token_only:
        caller = _caller(request)
        if caller is not None and (caller.key_id is not None or token_of(request) is None):
            _check(caller, "service", " The session's own engine_token opens it, too.")
            return sessions.get(session_id)
        if token_of(request) is None:
            raise _unauthorized(request)
    return sessions.authorise(session_id, token_of(request))


def _require(request: web.Request, role: Role) -> Caller:
    caller = _caller(request)
    if caller is None:
        raise _unauthorized(request)
    _check(caller, role)
    return caller


def _caller(request: web.Request) -> Caller | None:
    return request[CALLER] if CALLER in request else identify(request, request.app[KEYS])


def _check(caller: Caller, role: Role, more: str = "") -> None:
    if not may(caller.role, role):
        raise ProblemError(
            403,
            "forbidden",
            f"This needs a key with the role {role} ({DUTIES[role]}); the one shown has the role {caller.role}.{more}",
            role=role,
        )


def _unauthorized(request: web.Request) -> ProblemError:
    detail = (
        'This needs "Authorization: Bearer KEY" with a key of this server. On its machine '
        ".venv/bin/python run.py keys add --role ROLE makes one."
    )
    if by_proxy(request) and not request.app[KEYS].needed:
        detail = (
            "This server has no keys, so it answers its own machine only, and this request came through a proxy. "
            "Make a key: .venv/bin/python run.py keys add --role admin"
        )
    return ProblemError(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
