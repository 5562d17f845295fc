"""How often one may call: the buckets, whose address counts, and what a flood gets."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from aiohttp import FormData
from hypothesis import given, settings
from hypothesis import strategies as st

from server.access import start
from server.access.addresses import client, networks
from server.access.buckets import Buckets
from server.access.guard import DEAR, DEAR_FORMS, guard
from server.access.limiter import Limiter, Rates
from server.access.start import rates
from server.access.tokens import Tokens, secret_in
from server.keys import LIMITER
from server.settings import ROOT, Settings
from tests.access.conftest import Found, School
from tests.server.conftest import problem

# -- buckets ------------------------------------------------------------------------------------------------------


def test_all_turns_of_a_minute_may_be_taken_at_once_and_come_back_evenly() -> None:
    buckets = Buckets(60)
    assert [buckets.take("a", 0.0) for _ in range(60)] == [0.0] * 60
    assert buckets.take("a", 0.0) == pytest.approx(1.0)
    assert buckets.take("a", 0.5) == pytest.approx(0.5)  # asking in vain costs no turn
    assert buckets.take("a", 1.0) == 0.0
    assert buckets.take("a", 1.0) > 0.0
    assert buckets.take("b", 1.0) == 0.0  # each has its own
    assert buckets.wait("a", 31.0) == 0.0
    assert sum(buckets.take("a", 31.0) == 0.0 for _ in range(100)) == 30
    assert sum(buckets.take("a", 9e9) == 0.0 for _ in range(100)) == 60  # never more than a minute's


@settings(deadline=None)
@given(st.lists(st.floats(0, 300), min_size=1, max_size=400))
def test_no_minute_passes_more_than_two_minutes_turns(times: list[float]) -> None:
    buckets = Buckets(10)
    passed = [now for now in sorted(times) if buckets.take("a", now) == 0.0]
    for first in passed:
        assert sum(first <= now < first + 60 for now in passed) <= 20


def test_without_a_limit_all_pass_and_nothing_is_kept() -> None:
    buckets = Buckets(0)
    assert all(buckets.take(str(number), 0.0) == 0.0 for number in range(1000))
    assert len(buckets) == 0


def test_only_so_many_are_remembered() -> None:
    buckets = Buckets(1, most=100)
    for number in range(100_000):
        buckets.take(str(number), 0.0)
    assert len(buckets) == 100
    assert buckets.take("99999", 0.0) > 0.0  # the latest still are


# -- whose address ------------------------------------------------------------------------------------------------

LOCAL = ("127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "name", "own"),
    [
        ("127.0.0.1", (), LOCAL, "127.0.0.1", True),
        ("::1", (), LOCAL, "::1", True),
        ("203.0.113.7", (), LOCAL, "203.0.113.7", False),
        # who is not trusted may write what it likes
        ("203.0.113.7", ("198.51.100.1",), LOCAL, "203.0.113.7", False),
        ("203.0.113.7", ("127.0.0.1",), LOCAL, "203.0.113.7", False),
        ("127.0.0.1", ("198.51.100.1",), LOCAL, "198.51.100.1", False),
        ("127.0.0.1", ("198.51.100.1",), (), "127.0.0.1", True),
        # from the right; what stands before was written by who stands behind
        ("127.0.0.1", ("127.0.0.1, 198.51.100.1",), LOCAL, "198.51.100.1", False),
        ("127.0.0.1", ("1.1.1.1", "198.51.100.1"), LOCAL, "198.51.100.1", False),
        ("10.0.0.2", ("1.1.1.1, 198.51.100.1, 10.0.0.9",), ("10.0.0.0/8",), "198.51.100.1", False),
        ("127.0.0.1", ("198.51.100.1:1234",), LOCAL, "198.51.100.1", False),
        ("127.0.0.1", ("[2001:db8::1]:99",), LOCAL, "2001:db8::/64", False),
        ("127.0.0.1", ("[2001:db8::1]",), LOCAL, "2001:db8::/64", False),
        ("127.0.0.1", ("2001:db8::1",), LOCAL, "2001:db8::/64", False),
        # for whom somebody speaks is no program of this machine, whatever is said of it
        ("127.0.0.1", ("127.0.0.1",), LOCAL, "127.0.0.1", False),
        ("127.0.0.1", ("rubbish",), LOCAL, "127.0.0.1", False),
        ("127.0.0.1", ("198.51.100.1, rubbish",), LOCAL, "127.0.0.1", False),
        ("127.0.0.1", ("",), LOCAL, "127.0.0.1", True),
        # a machine has a whole /64 of IPv6
        ("2001:db8::1:2:3:4", (), LOCAL, "2001:db8::/64", False),
        ("2001:db8:0:0:ffff::1", (), LOCAL, "2001:db8::/64", False),
        ("2001:db8:0:1::1", (), LOCAL, "2001:db8:0:1::/64", False),
        ("fe80::1%eth0", (), LOCAL, "fe80::/64", False),
        ("::ffff:203.0.113.7", (), LOCAL, "203.0.113.7", False),
        (None, ("1.1.1.1",), LOCAL, "", False),
    ],
)
def test_who_counts(
    peer: str | None, forwarded: tuple[str, ...], trusted: tuple[str, ...], name: str, own: bool
) -> None:
    found = client(peer, forwarded, networks(trusted))
    assert (found.name, found.own) == (name, own)


@settings(deadline=None)
@given(st.text(), st.lists(st.text(max_size=60), max_size=4))
def test_no_header_breaks_it(peer: str, forwarded: list[str]) -> None:
    client(peer, forwarded, networks(LOCAL))
    assert client("127.0.0.1", forwarded, networks(LOCAL)).name


# -- over HTTP ----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, no turn comes back meanwhile."""
    monkeypatch.setattr(start, "guard", partial(guard, clock=lambda: 1000.0))


CLASS = "203.0.113.7"  # the school's NAT
ELSEWHERE = "198.51.100.9"


async def statuses(
    there: School, count: int, method: str, path: str, shown: str, address: str, **more: Any
) -> set[int]:
    headers = {"X-Forwarded-For": address}
    answers = [await there.ask(method, path, shown, headers=headers, **more) for _ in range(count)]
    return {answer.status for answer in answers}


async def test_too_many_requests_of_an_address_are_refused_and_others_are_served(school: Found) -> None:
    there = await school(access={"requests_per_minute": 20})
    assert await statuses(there, 20, "GET", "/health", "", CLASS) == {200}
    answer = await there.ask("GET", "/health", headers={"X-Forwarded-For": CLASS})
    found = await problem(answer, 429, "too_many_requests")
    assert answer.headers["Retry-After"] == str(found["retry_after"]) == "3"
    assert await statuses(there, 5, "GET", "/", "", CLASS) == {429}  # whatever it asks for
    assert await statuses(there, 5, "GET", "/nothing", "", CLASS) == {429}
    assert (await there.ask("GET", "/health", headers={"X-Forwarded-For": ELSEWHERE})).status == 200
    assert (await there.ask("GET", "/health")).status == 200


async def test_a_key_is_counted_wherever_it_is_used(school: Found) -> None:
    there = await school(access={"requests_per_minute": 20})
    for number in range(20):
        assert (await statuses(there, 1, "GET", "/v1/avatars", "service", f"198.51.100.{number}")) == {200}
    assert await statuses(there, 1, "GET", "/v1/avatars", "service", "198.51.100.200") == {429}
    assert (await there.ask("GET", "/v1/avatars", "service")).status == 429  # on this machine, too
    assert (await there.ask("GET", "/v1/avatars", "teacher")).status == 200


async def test_what_is_dear_is_counted_on_its_own(school: Found) -> None:
    there = await school(access={"sessions_per_minute": 3, "uploads_per_minute": 2}, sessions={"max_sessions": 50})
    new = {"json": {"avatar_id": "ada", "student_id": "s"}}
    assert await statuses(there, 3, "POST", "/v1/sessions", "service", CLASS, **new) == {201}
    assert await statuses(there, 1, "POST", "/v1/sessions", "service", CLASS, **new) == {429}
    assert await statuses(there, 1, "POST", "/v1/sessions", "admin", CLASS, **new) == {429}  # the same address
    assert await statuses(there, 1, "POST", "/v1/sessions", "service", ELSEWHERE, **new) == {429}  # the same key
    assert await statuses(there, 1, "POST", "/v1/rtvi/start", "admin", CLASS, **new) == {429}  # the same thing
    assert len(there.server.sessions.all()) == 3
    assert await statuses(there, 2, "POST", "/v1/avatars/upload", "teacher", CLASS) == {415}
    assert await statuses(there, 1, "POST", "/v1/avatars", "teacher", CLASS, json={}) == {429}
    form = FormData({"name": "with a video"}, default_to_multipart=True)
    assert await statuses(there, 1, "POST", "/v1/tutors", "teacher", CLASS, data=form) == {429}
    assert await statuses(there, 5, "POST", "/v1/tutors", "teacher", CLASS, json={"name": "no video"}) == {201}
    assert await statuses(there, 5, "GET", "/v1/avatars", "teacher", CLASS) == {200}


async def test_what_is_counted_on_its_own_exists(school: Found) -> None:
    there = await school()
    routes = {
        (route.method, route.resource.canonical)
        for route in there.server.app.router.routes()
        if route.resource is not None
    }
    assert set(DEAR) | set(DEAR_FORMS) <= routes


async def test_wrong_keys_are_refused_unseen_after_some_and_good_ones_go_on(school: Found) -> None:
    there = await school(server={"api_key": "chosen by a person"}, access={"failures_per_minute": 5})
    made = await there.session()
    url = f"/v1/sessions/{made['session_id']}"
    guess, forged = "chosen by a parson", made["engine_token"][:-2] + "AA"
    assert await statuses(there, 1, "GET", "/v1/avatars", "chosen by a person", CLASS) == {200}
    assert await statuses(there, 3, "GET", "/v1/avatars", guess, CLASS) == {401}
    assert await statuses(there, 2, "GET", url, forged, CLASS) == {401}
    assert await statuses(there, 1, "POST", "/offer", guess, CLASS, json={}) == {429}
    for path, shown in (("/v1/avatars", guess), (url, forged), (f"/ws/{made['session_id']}", forged)):
        assert await statuses(there, 2, "GET", path, shown, CLASS) == {429}
    # Even the right one is refused now, or a guesser would learn by trying: it may be one that somebody can guess.
    assert await statuses(there, 1, "GET", "/v1/avatars", "chosen by a person", CLASS) == {429}
    # What cannot be guessed is let in: a prankster in the class shuts nobody out.
    assert await statuses(there, 1, "GET", "/v1/avatars", "teacher", CLASS) == {200}
    assert await statuses(there, 1, "GET", url, made["engine_token"], CLASS) == {200}
    assert await statuses(there, 1, "GET", "/v1/avatars", "chosen by a person", ELSEWHERE) == {200}


async def test_calls_without_a_key_or_with_an_expired_token_are_no_tries(school: Found) -> None:
    there = await school(access={"failures_per_minute": 2})
    made = await there.session()
    url = f"/v1/sessions/{made['session_id']}"
    old, _ = Tokens(secret_in(there.keys_file.parent / "token.secret"), 60, lambda: 1e9).issue(made["session_id"])
    for _ in range(6):
        await problem(await there.ask("GET", "/v1/avatars", headers={"X-Forwarded-For": CLASS}), 401, "unauthorized")
        await problem(await there.ask("GET", url, old, headers={"X-Forwarded-For": CLASS}), 401, "token_expired")
    assert await statuses(there, 2, "GET", url, "wrong", CLASS) == {401}


def test_a_class_behind_one_address_is_not_hindered() -> None:
    """Thirty students open the page in the same second and again at once, each with every file there is; then each
    starts a session, leaves, and starts another one.
    """
    limiter = Limiter(rates(Settings().access))
    files = sum(path.is_file() for path in (ROOT / "static").rglob("*"))
    assert files > 40
    for _ in range(30 * 2 * (files + 10)):
        limiter.pass_or_429("requests", CLASS, None, 0.0)
    for _ in range(30 * 2):
        limiter.pass_or_429("sessions", CLASS, "thekey", 1.0)


async def test_other_limits_hold_at_once(school: Found) -> None:
    there = await school()
    there.server.app[LIMITER].set(Rates(requests=1, sessions=1, uploads=1, failures=1))
    assert await statuses(there, 1, "GET", "/health", "", CLASS) == {200}
    assert await statuses(there, 1, "GET", "/health", "", CLASS) == {429}
