"""Reads a live session as a viewer does, and hands what it gets to a writer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from av.packet import Packet
from av.stream import Stream

from pipeline.fanout import ViewerClosed
from pipeline.outputs.writer import Writer


class Place(Protocol):
    """What is needed of pipeline.fanout.Viewer, which is described there."""

    async def video(self) -> Packet[Stream]: ...

    async def audio(self) -> Packet[Stream]: ...

    def request_key(self) -> None: ...

    def close(self) -> None: ...


class Source(Protocol):
    """What is needed of pipeline.session.LiveSession."""

    def join(self) -> Place: ...


class Tap:
    """lost: how often the writer had no room, so that pictures and sound were left out."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._full = False
        self.lost = 0

    async def run(self, source: Source) -> None:
        """Until the session stops or falls asleep. Raises SessionClosed if it had before."""
        place = source.join()
        try:
            async with asyncio.TaskGroup() as pulls:
                pulls.create_task(self._pull(place, place.video, sound=False))
                pulls.create_task(self._pull(place, place.audio, sound=True))
        finally:
            place.close()
            self._writer.mark("cut")

    async def _pull(self, place: Place, pull: Callable[[], Awaitable[Packet[Stream]]], *, sound: bool) -> None:
        try:
            while True:
                self._hand_on(place, await pull(), sound)
        except ViewerClosed:
            return

    def _hand_on(self, place: Place, packet: Packet[Stream], sound: bool) -> None:
        if self._full:
            if not self._writer.roomy:
                return
            self._full = False
            self._writer.mark("lost")
            place.request_key()
        if not self._writer.put(packet, sound=sound):
            self._full = True
            self.lost += 1
