"""Reads a live session as a viewer does, and hands on what it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from av.packet import Packet
from av.stream import Stream

from pipeline.fanout import ViewerClosed
from pipeline.outputs.sink import Intake


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
    """lost: how often the intake had no room, so that pictures and sound were left out."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._place: Place | None = None
        self._full = False
        self.lost = 0

    async def run(self, source: Source) -> None:
        """Until the session stops or falls asleep. Raises SessionClosed if it had before."""
        self._place = place = source.join()
        try:
            async with asyncio.TaskGroup() as pulls:
                pulls.create_task(self._pull(place.video, sound=False))
                pulls.create_task(self._pull(place.audio, sound=True))
        finally:
            self._place = None
            place.close()
            self._intake.mark("cut")

    def restart(self) -> None:
        """What the intake has is old: it goes on with a keyframe of now."""
        self._intake.mark("cut")
        if self._place is not None:
            self._place.request_key()

    async def _pull(self, pull: Callable[[], Awaitable[Packet[Stream]]], *, sound: bool) -> None:
        try:
            while True:
                self._hand_on(await pull(), sound)
        except ViewerClosed:
            return

    def _hand_on(self, packet: Packet[Stream], sound: bool) -> None:
        if self._full:
            if not self._intake.roomy:
                return
            self._full = False
            self._intake.mark("lost")
            if self._place is not None:
                self._place.request_key()
        if not self._intake.put(packet, sound=sound):
            self._full = True
            self.lost += 1
