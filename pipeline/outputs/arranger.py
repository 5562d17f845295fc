"""Gives a container a session's packets in order and in their places: what all containers have in common."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from av.packet import Packet
from av.stream import Stream

from pipeline.audio_encoder import PACKET_SAMPLES
from pipeline.media import SAMPLE_RATE
from pipeline.outputs.sink import SILENCE, Mark
from pipeline.outputs.timeline import Timeline
from pipeline.video_encoder import CLOCK

MOST_HELD = 25
"""Pictures that wait for the sound of their time, which leaves at the same instant; if there are more, none comes."""


class Container(Protocol):
    """What is written to. Times in the film: pictures' in 1/90000 s, sound's in 1/48000 s."""

    def begin(self, keyframe: bytes) -> None:
        """Once, before all others; the keyframe itself comes again as a picture."""

    def picture(self, data: bytes, at: int, *, key: bool) -> None: ...

    def sound(self, data: bytes, at: int) -> None:
        """20 ms of Opus."""


class Arranger:
    """Takes packets and marks as a Sink does. All methods raise what the container raises."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._timeline = Timeline()
        self._held: deque[Packet[Stream]] = deque()
        self._begun = False
        self._heard = -1  # the end of the newest sound, in 1/90000 s

    @property
    def seconds(self) -> float:
        """How long the film is so far."""
        return self._timeline.seconds

    def packet(self, packet: Packet[Stream], *, sound: bool) -> None:
        assert packet.pts is not None
        if sound:
            self._lay_sound(bytes(packet), packet.pts)
            self._heard = (packet.pts + PACKET_SAMPLES) * CLOCK // SAMPLE_RATE
        else:
            if packet.is_keyframe:
                self._begin(packet)
            self._held.append(packet)
        while self._held and ((self._held[0].pts or 0) < self._heard or len(self._held) > MOST_HELD):
            self._lay_picture(self._held.popleft())

    def mark(self, mark: Mark) -> None:
        self.flush()
        if mark == "cut":
            self._timeline.cut()
            self._heard = -1
        else:
            self._timeline.lost()

    def flush(self) -> None:
        """No sound is waited for any more."""
        while self._held:
            self._lay_picture(self._held.popleft())

    def _begin(self, keyframe: Packet[Stream]) -> None:
        assert keyframe.pts is not None
        self._timeline.begin(keyframe.pts)
        if not self._begun:
            self._begun = True
            self._container.begin(bytes(keyframe))

    def _lay_picture(self, packet: Packet[Stream]) -> None:
        assert packet.pts is not None
        at = self._timeline.picture(packet.pts, key=packet.is_keyframe)
        if at is not None:
            self._container.picture(bytes(packet), at, key=packet.is_keyframe)

    def _lay_sound(self, data: bytes, pts: int) -> None:
        place = self._timeline.sound(pts)
        if place is not None:
            for at in place.silence:
                self._container.sound(SILENCE, at)
            self._container.sound(data, place.at)
