"""Viewers in a process of their own, which can be put into a network namespace.

Run with one argument, JSON: {"url", "viewers": how many, "a_session": of them at most, "kinds": of media, "frames":
that are enough, "seconds": to wait for media, "username": perhaps, instead of the server's}. They come one after the
other, and stay. Prints one line of JSON: {"status": of the first refusal, or 201, "code", "detail", "answer": the
candidates that the first answer names, "viewers": [{"frames", "loudness", "local", "remote"}]}; local and remote are
the kinds of the nominated candidates.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any

import aiohttp
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCIceServer, RTCIceTransportPolicy, RTCPeerConnection

from server.rtc.private import OwnedConnect, connection_of
from tests.rtc.clients import AiortcViewer, until


class RoutedViewer(AiortcViewer):
    """A viewer that uses the ICE servers and the policy that it is told, as a page does."""

    def __init__(self, servers: list[dict[str, Any]], policy: str, kinds: list[str], frames: int) -> None:
        super().__init__(())
        self.pc = RTCPeerConnection(
            RTCConfiguration(
                [RTCIceServer(each["urls"], each.get("username"), each.get("credential")) for each in servers],
                RTCIceTransportPolicy(policy),
                RTCBundlePolicy.MAX_BUNDLE,
            )
        )
        self._connect = OwnedConnect(self.pc)
        self.pc.on("track", self._on_track)
        self._kinds = kinds
        self._enough = frames
        self.used = ("none", "none")
        """The kinds of the nominated candidates, ours and the server's."""
        for kind in kinds:
            self.pc.addTransceiver(kind, direction="recvonly")

    async def media(self, seconds: float) -> None:
        """Wait for some; what came is told, whatever it is."""
        with contextlib.suppress(TimeoutError):
            await until(self._has_enough, seconds)
        for pair in connection_of(self.pc.getTransceivers()[0].receiver.transport.transport)._nominated.values():
            self.used = pair.local_candidate.type, pair.remote_candidate.type

    def _has_enough(self) -> bool:
        return self.frames >= self._enough and (self.samples >= 24_000 or "audio" not in self._kinds)


async def watch(given: dict[str, Any], http: aiohttp.ClientSession, viewers: list[RoutedViewer]) -> dict[str, Any]:
    found: dict[str, Any] = {"status": 201, "code": None, "detail": None, "answer": []}
    session: dict[str, Any] = {}
    for number in range(given["viewers"]):
        if number % given["a_session"] == 0:
            async with http.post("/v1/sessions", json={"avatar_id": "ada", "student_id": "s"}) as answer:
                session = await answer.json()
        servers = session["ice_servers"]
        for server in servers:
            if given.get("username") and "username" in server:
                server["username"] = given["username"]
        viewer = RoutedViewer(servers, session["ice_transport_policy"], given["kinds"], given["frames"])
        viewers.append(viewer)
        headers = {"Authorization": f"Bearer {session['engine_token']}", "Content-Type": "application/sdp"}
        async with http.post(session["whep_url"], data=await viewer.offer(), headers=headers) as answer:
            if answer.status != 201:
                problem = await answer.json()
                return {**found, "status": answer.status, "code": problem["code"], "detail": problem["detail"]}
            sdp = await answer.text()
        lines = [line.split() for line in sdp.split("\r\n") if line.startswith("a=candidate:")]
        found["answer"] = found["answer"] or [[line[7], line[4], int(line[5])] for line in lines]
        await viewer.accept(sdp)
        await viewer.media(given["seconds"])
    return found


async def main(given: dict[str, Any]) -> None:
    viewers: list[RoutedViewer] = []
    async with aiohttp.ClientSession(given["url"]) as http:
        found = await watch(given, http, viewers)
        found["viewers"] = [
            {"frames": each.frames, "loudness": each.loudness, "local": each.used[0], "remote": each.used[1]}
            for each in viewers
        ]
        await asyncio.gather(*[each.close() for each in viewers])
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
