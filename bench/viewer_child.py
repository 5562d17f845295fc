"""Viewers in a process of their own, so that what they cost is not counted as the server's.

Lines of JSON on standard input: {"do": "open", "id": 1}, {"do": "answer", "id": 1, "sdp": …}, {"do": "close", "id": 1};
on standard output: {"id": 1, "sdp": …}, {"id": 1, "packets": true} with the first picture's first packet.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

from aioice import ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, rtcrtpreceiver
from aiortc.codecs.base import Decoder
from aiortc.mediastreams import MediaStreamError


class Nothing(Decoder):
    """Decodes nothing: sixteen viewers' decoding would take the machine that is measured. A frame counts as seen."""

    def decode(self, encoded_frame: Any) -> list[Any]:
        return [None]


def say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def first(viewer: int, track: Any) -> None:
    with contextlib.suppress(MediaStreamError):  # a frame of Nothing ends the track: that it came is all that is asked
        await track.recv()
    say(id=viewer, packets=True)


async def main() -> None:
    rtcrtpreceiver.get_decoder = lambda codec: Nothing()
    ice.CONSENT_FAILURES = 1_000_000  # else a viewer that gets no processor for six times 0.5 s gives up
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    viewers: dict[int, RTCPeerConnection] = {}
    tasks: set[asyncio.Task[None]] = set()
    while line := await reader.readline():
        message = json.loads(line)
        viewer = message["id"]
        if message["do"] == "open":
            pc = viewers[viewer] = RTCPeerConnection(RTCConfiguration(iceServers=[]))

            def on_track(track: Any, viewer: int = viewer) -> None:
                if track.kind == "video":
                    task = asyncio.ensure_future(first(viewer, track))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)

            pc.on("track", on_track)
            pc.addTransceiver("audio", direction="recvonly")
            pc.addTransceiver("video", direction="recvonly")
            await pc.setLocalDescription(await pc.createOffer())
            say(id=viewer, sdp=pc.localDescription.sdp)
        elif message["do"] == "answer":
            await viewers[viewer].setRemoteDescription(RTCSessionDescription(message["sdp"], "answer"))
        else:
            await viewers.pop(viewer).close()
            say(id=viewer, closed=True)


if __name__ == "__main__":
    os.nice(5)
    asyncio.run(main())
