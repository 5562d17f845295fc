"""Students' tokens: of one session, for a while, and by nobody else."""

from __future__ import annotations

import base64
import functools
import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.access.tokens import Tokens, secret_in
from server.keys import TOKENS
from server.problems import ProblemError
from server.settings import Settings
from tests.access.conftest import Found
from tests.server.conftest import Serve, problem

SECRET = bytes(range(32))
SESSION, OTHER = "a" * 32, "b" * 32


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.5

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    return Tokens(SECRET, 600.0, clock)


def refused(tokens: Tokens, token: str | None, session: str = SESSION) -> str:
    with pytest.raises(ProblemError) as caught:
        tokens.check(session, token)
    assert caught.value.status == 401
    assert caught.value.headers["WWW-Authenticate"].startswith("Bearer")
    return caught.value.code


def test_it_opens_its_session_until_it_expires(tokens: Tokens, clock: Clock) -> None:
    token, expires = tokens.issue(SESSION)
    assert expires == int(clock.now + 600)
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_exp": False, "verify_iat": False})
    assert claims == {"sub": SESSION, "iat": int(clock.now), "exp": int(expires), "use": "session"}
    tokens.check(SESSION, token)
    clock.now = expires - 0.1
    tokens.check(SESSION, token)
    clock.now = expires
    assert refused(tokens, token) == "token_expired"


def test_an_expired_one_tells_nothing_of_other_sessions(tokens: Tokens, clock: Clock) -> None:
    token, expires = tokens.issue(SESSION)
    clock.now = expires + 1
    assert refused(tokens, token, OTHER) == "wrong_token"


def segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def claims(clock: Clock, **more: Any) -> dict[str, Any]:
    return {"sub": SESSION, "iat": int(clock.now), "exp": int(clock.now) + 600, "use": "session", **more}


DEEP = functools.reduce(lambda inner, _: [inner], range(60), list[Any]())

FORGERIES: dict[str, Callable[[Clock, str], str | None]] = {
    "no token": lambda clock, good: None,
    "empty": lambda clock, good: "",
    "of another session": lambda clock, good: Tokens(SECRET, 600, clock).issue(OTHER)[0],
    "of another key": lambda clock, good: jwt.encode(claims(clock), bytes(32), algorithm="HS256"),
    "alg none": lambda clock, good: jwt.encode(claims(clock), None, algorithm="none"),
    "alg none, signed as before": lambda clock, good: ".".join(
        (segment({"alg": "none", "typ": "JWT"}), *good.split(".")[1:])
    ),
    "alg NoNe without signature": lambda clock, good: f"{segment({'alg': 'NoNe'})}.{good.split('.')[1]}.",
    "another algorithm of the same key": lambda clock, good: jwt.encode(claims(clock), SECRET * 2, algorithm="HS512"),
    "other claims under the same signature": lambda clock, good: ".".join(
        (good.split(".")[0], segment(claims(clock, exp=9_999_999_999)), good.split(".")[2])
    ),
    "signature cut off": lambda clock, good: good.rpartition(".")[0] + ".",
    "signature missing": lambda clock, good: good.rpartition(".")[0],
    "one letter more": lambda clock, good: good + "A",
    "for another use": lambda clock, good: jwt.encode(claims(clock, use="recording"), SECRET, algorithm="HS256"),
    "without a use": lambda clock, good: jwt.encode(
        {k: v for k, v in claims(clock).items() if k != "use"}, SECRET, algorithm="HS256"
    ),
    "without an end": lambda clock, good: jwt.encode(
        {k: v for k, v in claims(clock).items() if k != "exp"}, SECRET, algorithm="HS256"
    ),
    "of several sessions": lambda clock, good: jwt.encode(claims(clock, aud=[SESSION]), SECRET, algorithm="HS256"),
    "a deep header": lambda clock, good: ".".join((segment(DEEP), *good.split(".")[1:])),
    "too long": lambda clock, good: good + "A" * 100_000,
    "with a line break": lambda clock, good: good + "\n",
}


@pytest.mark.parametrize("how", FORGERIES)
def test_a_forged_one_opens_nothing(tokens: Tokens, clock: Clock, how: str) -> None:
    good, _ = tokens.issue(SESSION)
    tokens.check(SESSION, good)
    assert refused(tokens, FORGERIES[how](clock, good)) == "wrong_token"


@pytest.mark.parametrize("expires", ["never", None, [], True, float("inf"), 2e300])
def test_an_end_that_is_no_time_is_over(tokens: Tokens, clock: Clock, expires: Any) -> None:
    token = jwt.encode(claims(clock, exp=None) | {"exp": expires}, SECRET, algorithm="HS256")
    assert refused(tokens, token) in ("wrong_token", "token_expired")


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape"))))
def test_garbage_opens_nothing(garbage: str) -> None:
    assert refused(Tokens(SECRET, 600), garbage) == "wrong_token"


PIECE = st.one_of(
    st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=").decode()),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["alg", "typ", "sub", "exp", "use", "iat", "kid", "crit"]), inner),
        ),
        max_leaves=6,
    ).map(segment),
)


@settings(deadline=None)
@given(st.lists(PIECE, min_size=2, max_size=4).map(".".join))
def test_garbage_in_the_form_of_a_token_opens_nothing(garbage: str) -> None:
    assert refused(Tokens(SECRET, 600), garbage) == "wrong_token"


# -- over HTTP ----------------------------------------------------------------------------------------------------


async def test_a_token_is_renewed_with_itself_or_a_key(school: Found) -> None:
    there = await school()
    made = await there.session()
    url = f"/v1/sessions/{made['session_id']}"
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["token_expires_at"])
    for shown in (made["engine_token"], "service", "admin"):
        answer = await there.ask("POST", f"{url}/token", shown)
        assert answer.status == 200, await answer.text()
        fresh = await answer.json()
        assert fresh["session_id"] == made["session_id"]
        assert fresh["engine_url"] == f"/ws/{made['session_id']}?token={fresh['engine_token']}"
        assert (await there.ask("GET", url, fresh["engine_token"])).status == 200
        socket = await there.server.client.ws_connect(fresh["engine_url"])
        await socket.close()
    assert (await there.ask("GET", url, made["engine_token"])).status == 200  # the old one until it expires
    await problem(await there.ask("POST", f"{url}/token"), 401, "unauthorized")
    await problem(await there.ask("POST", f"{url}/token", "teacher"), 403, "forbidden")


async def test_an_expired_one_is_told_apart_and_renews_nothing(school: Found) -> None:
    there = await school()
    made = await there.session()
    url = f"/v1/sessions/{made['session_id']}"
    clock = Clock()
    old = Tokens(secret_in(there.keys_file.parent / "token.secret"), 60, lambda: clock.now - 1e9)
    expired, _ = old.issue(made["session_id"])
    for method, path in (("GET", url), ("POST", f"{url}/token"), ("POST", f"{url}/interrupt"), ("POST", f"{url}/whep")):
        answer = await there.ask(method, path, expired, headers={"Content-Type": "application/sdp"})
        found = await problem(answer, 401, "token_expired")
        assert "/token" in found["detail"]
    await problem(await there.server.client.get(f"/ws/{made['session_id']}?token={expired}"), 401, "token_expired")


async def test_the_tokens_of_an_ended_session_open_nothing(school: Found) -> None:
    there = await school()
    made = await there.session()
    url = f"/v1/sessions/{made['session_id']}"
    assert (await there.ask("DELETE", url, made["engine_token"])).status == 204
    for method, path in (("GET", url), ("POST", f"{url}/token"), ("GET", made["engine_url"]), ("POST", f"{url}/say")):
        await problem(await there.ask(method, path, made["engine_token"], json={"text": "x"}), 404, "session_not_found")


def test_the_secret_is_made_once_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "data" / "token.secret"
    made = secret_in(path)
    assert len(made) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret_in(path) == made
    path.chmod(0o640)
    with pytest.raises(ValueError, match="chmod 600"):
        secret_in(path)
    path.chmod(0o600)
    for damaged in ("", "zz", "ab" * 31, "ä"):
        path.write_text(damaged)
        with pytest.raises(ValueError, match="Delete the file"):
            secret_in(path)


async def test_where_the_secret_cannot_be_kept_tokens_work_all_the_same(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    server = await serve(access={"token_file": tmp_path / "file" / "token.secret"})
    made = await server.session()
    assert (await server.client.get(f"/v1/sessions/{made['session_id']}?token={made['engine_token']}")).status == 200


async def test_servers_that_share_a_secret_know_each_others_tokens(serve: Serve) -> None:
    server = await serve(access={"token_secret": "s" * 32, "token_seconds": 90})
    made = await server.session()
    token, _ = Tokens(b"s" * 32, 60).issue(made["session_id"])
    assert (await server.client.get(f"/v1/sessions/{made['session_id']}?token={token}")).status == 200
    server.app[TOKENS].check(made["session_id"], token)


def test_a_secret_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(ValueError, match="32 characters"):
        Settings(access={"token_secret": "school"})  # type: ignore[arg-type]
    assert "geheim" not in repr(Settings(access={"token_secret": "geheim" * 6}))  # type: ignore[arg-type]
