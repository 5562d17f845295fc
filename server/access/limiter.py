"""How often an address and a key may call: in all, for what is dear, and with a wrong key."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import structlog

from server.access.buckets import Buckets
from server.problems import ProblemError

log = structlog.get_logger(__name__)

TELL_SECONDS = 10.0  # refusals are told in the log once in this time

Kind = Literal["requests", "sessions", "uploads", "failures"]

_WHAT: dict[Kind, str] = {
    "requests": "requests",
    "sessions": "new sessions",
    "uploads": "videos to make avatars of",
    "failures": "wrong keys or tokens",
}


@dataclass(frozen=True, slots=True)
class Rates:
    """Turns a minute of one address, and of one key; 0: no limit."""

    requests: int
    sessions: int
    uploads: int
    failures: int


class Limiter:
    """Counts. address None: a program of this machine, which is counted by its key only."""

    def __init__(self, rates: Rates) -> None:
        self._refused = 0
        self._told = -math.inf
        self._addresses: dict[Kind, Buckets] = {}
        self._keys: dict[Kind, Buckets] = {}
        self.set(rates)

    def set(self, rates: Rates) -> None:
        """Other limits, from now on; what was counted is forgotten."""
        turns: dict[Kind, int] = {
            "requests": rates.requests,
            "sessions": rates.sessions,
            "uploads": rates.uploads,
            "failures": rates.failures,
        }
        self._addresses = {kind: Buckets(each) for kind, each in turns.items()}
        self._keys = {kind: Buckets(each) for kind, each in turns.items()}

    def pass_or_429(self, kind: Kind, address: str | None, key_id: str | None, now: float) -> None:
        """Count a request of that kind. 429 too_many_requests."""
        kinds: tuple[Kind, ...] = ("requests",) if kind == "requests" else ("requests", kind)
        for each in kinds:
            wait = self._addresses[each].take(address, now) if address is not None else 0.0
            if key_id is not None:
                wait = max(wait, self._keys[each].take(key_id, now))
            if wait > 0.0:
                raise self._refusal(each, address or f"key {key_id}", wait, now)

    def may_try(self, address: str, now: float) -> bool:
        """Whether who sent so many wrong keys may have one more looked at, if it is one that could be guessed."""
        return self._addresses["failures"].wait(address, now) == 0.0

    def failed(self, address: str, now: float) -> ProblemError | None:
        """Count a wrong key or token; once there were too many, the answer that takes the place of the usual one."""
        wait = self._addresses["failures"].take(address, now)
        return self._refusal("failures", address, wait, now) if wait > 0.0 else None

    def _refusal(self, kind: Kind, who: str, wait: float, now: float) -> ProblemError:
        self._refused += 1
        if now - self._told >= TELL_SECONDS:
            log.warning("too_many_requests", kind=kind, last=who, refused=self._refused)
            self._told, self._refused = now, 0
        seconds = max(1, math.ceil(wait))
        return ProblemError(
            429,
            "too_many_requests",
            f"There were too many {_WHAT[kind]} from here. Try again in {seconds} s.",
            headers={"Retry-After": str(seconds)},
            retry_after=seconds,
        )
