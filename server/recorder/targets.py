"""Where outputs may go: addresses checked letter by letter, hosts that the operator has named, secrets left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["rtmp", "whip"]

SCHEMES: dict[Kind, dict[str, int]] = {"rtmp": {"rtmp": 1935, "rtmps": 443}, "whip": {"http": 80, "https": 443}}
"""Of each kind, with their ports."""

_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]"
_URL = re.compile(
    rf"(?P<scheme>[a-z]{{4,5}})://(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?(?P<path>/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?"
)
"""Neither a user's name nor a fragment, and nothing that two readers of addresses could take differently."""

ALLOWED_HOST = re.compile(rf"(?:{_HOST})(?::[0-9]{{1,5}})?")
"""A setting: a host, or one with the only port that is allowed there."""


class BadTarget(ValueError):
    """str(): a sentence for people."""


@dataclass(frozen=True, slots=True)
class Target:
    """url: as it was given, with its secrets. host: in lower case."""

    url: str
    scheme: str
    host: str
    port: int
    path: str

    @property
    def shown(self) -> str:
        """Without what may be a key: what follows the first part of the path, or its only part."""
        first, _, rest = self.path.partition("?")[0].strip("/").partition("/")
        hidden = f"{first}/…" if rest else "…" if self.path != "/" else ""
        return f"{self.scheme}://{self.host}:{self.port}/{hidden}"

    def allowed(self, hosts: Sequence[str]) -> bool:
        """Whether its host is among those, which are written as ALLOWED_HOST."""
        names = {host.lower() for host in hosts}
        return self.host in names or f"{self.host}:{self.port}" in names


def read_target(url: str, kind: Kind) -> Target:
    """Raises BadTarget."""
    match = _URL.fullmatch(url)
    schemes = SCHEMES[kind]
    if match is None or match["scheme"] not in schemes:
        names = " or ".join(f"{scheme}://" for scheme in schemes)
        raise BadTarget(f"The url is not a plain address that begins with {names}, without a user's name in it")
    port = int(match["port"] or schemes[match["scheme"]])
    if not 1 <= port <= 65535:
        raise BadTarget("The url's port is none")
    path = match["path"] or "/"
    if kind == "rtmp" and len(path.strip("/")) == 0:
        raise BadTarget("The url of an RTMP server has a path: rtmp://host/app/key")
    return Target(url, match["scheme"], match["host"].lower(), port, path)


def whip_allowed(url: str, hosts: Sequence[str]) -> bool:
    """Whether an address that a WHIP endpoint leads to may be called."""
    try:
        return read_target(url, "whip").allowed(hosts)
    except BadTarget:
        return False
