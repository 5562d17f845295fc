"""A school's server behind a router with one public address, of which six UDP ports are open, and no TURN server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.debian import program
from tests.network.conftest import HTTP, school, watch
from tests.network.namespaces import Namespace, Network

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST, LAST = 50000, 50005

RULES = """
table ip school {{
    chain inwards {{
        type nat hook prerouting priority dstnat;
        ip saddr 198.51.100.0/24 ip daddr {public} udp dport {first}-{last} dnat to {server}
        ip saddr 198.51.100.0/24 ip daddr {public} tcp dport {http} dnat to {server}
    }}
    chain passing {{
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        ct status dnat accept
        ip saddr 10.84.3.0/24 ip daddr {server} accept
    }}
}}
"""
"""Nothing but these ports comes in, the server begins nothing by itself, and the public address is none from inside."""


@dataclass(frozen=True)
class Place:
    student: Namespace
    pupil: Namespace
    public: str
    server: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(network: Network, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """student: outside. pupil: inside, in another private network of the school."""
    nft = program("nft", "nftables", places="/usr/sbin")
    server, router, student, pupil = (network.machine(role) for role in ("server", "router", "student", "pupil"))
    near, server_address = network.join(router, server, "10.84.1")
    public, _ = network.join(router, student, "198.51.100")
    inside, _ = network.join(router, pupil, "10.84.3")
    for machine, gateway in ((server, near), (student, public), (pupil, inside)):
        machine.run("ip", "route", "add", "default", "via", gateway)
    router.run("sysctl", "-w", "net.ipv4.ip_forward=1")
    rules = RULES.format(public=public, server=server_address, first=FIRST, last=LAST, http=HTTP)
    router.run(nft, "-f", "-", text=rules)
    folder = tmp_path_factory.mktemp("nat") / "school"
    settings = {"public_ip": public, "port_min": FIRST, "port_max": LAST}
    async with school(folder, server, server_address, [public], **settings):
        yield Place(student, pupil, public, server_address)


@pytest.mark.timeout(400)  # they come one after the other
async def test_six_open_ports_carry_twenty_four_viewers(place: Place) -> None:
    found = await watch(place.student, f"http://{place.public}:{HTTP}", viewers=24, kinds=["video"], frames=3)
    assert found["status"] == 201
    assert found["answer"][0] == ["host", place.public, FIRST]
    assert {address for _, address, _ in found["answer"]} == {place.public}, "no address of the inside is told"
    assert len(found["viewers"]) == 24
    assert [viewer["local"] for viewer in found["viewers"]] == ["host"] * 24
    assert all(viewer["frames"] >= 3 for viewer in found["viewers"])


async def test_who_is_inside_is_told_the_way_inside_too(place: Place) -> None:
    found = await watch(place.pupil, f"http://{place.server}:{HTTP}")
    told = {address for _, address, _ in found["answer"]}
    assert told == {place.public, place.server}
    (viewer,) = found["viewers"]
    assert viewer["frames"] >= 10
    assert viewer["loudness"] > 0.1
