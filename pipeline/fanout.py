"""From one encoder to every viewer: bounded queues of packets that start, and start again, with a keyframe."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from av.packet import Packet
from av.stream import Stream

VIDEO_QUEUE = 12  # pictures: 0.5 s
AUDIO_QUEUE = 25  # packets: 0.5 s

KEY_INTERVAL = 0.5
"""Seconds between two keyframes that a lossy viewer asks for; they cost all viewers bandwidth."""

JOIN_INTERVAL = 0.3
"""Seconds after a keyframe until one is made for a viewer that joins or comes back."""


class ViewerClosed(Exception):
    """The viewer's place was closed, by itself or with the session."""


class KeyGate:
    """When the next picture must be a keyframe. Pure."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self._joining = False
        self._lost = False

    def join(self) -> None:
        """Somebody waits for the first picture."""
        self._joining = True

    def lost(self) -> None:
        """Somebody lost the picture (PLI, FIR)."""
        self._lost = True

    def wanted(self, now: float) -> bool:
        since = now - self._last
        return (self._joining and since >= JOIN_INTERVAL) or (self._lost and since >= KEY_INTERVAL)

    def made(self, now: float) -> None:
        """A keyframe is being made, forced or not."""
        self._last = now
        self._joining = self._lost = False


class Viewer:
    """One receiver's place in a session. `Fanout.join` makes it.

    Each kind of packet is queued from the first call for it on, so a viewer of sound alone costs no picture and one
    that stopped reading costs nothing. A queue that is full is emptied: reading goes on with fresh packets, the
    picture with a keyframe.
    """

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout
        self._video: deque[Packet[Stream]] = deque()
        self._audio: deque[tuple[int, Packet[Stream]]] = deque()
        self._video_came = asyncio.Event()
        self._audio_came = asyncio.Event()
        self._wants_video = self._wants_audio = False
        self._keyed = False
        self._closed = False

    async def video(self) -> Packet[Stream]:
        """The next picture, pts in 1/90000 s; first a keyframe. Raises ViewerClosed."""
        while not self._video:
            self._check()
            if not self._wants_video:
                self._wants_video, self._keyed = True, False
                self._fanout.keys.join()
            self._video_came.clear()
            await self._video_came.wait()
        self._check()
        return self._video.popleft()

    async def audio(self) -> Packet[Stream]:
        """The next 20 ms of Opus, pts in 1/48000 s. Raises ViewerClosed."""
        while not self._audio:
            self._check()
            self._wants_audio = True
            self._audio_came.clear()
            await self._audio_came.wait()
        self._check()
        return self._audio.popleft()[1]

    def request_key(self) -> None:
        """The picture was lost on the way. Keyframes are limited for the session, not for each viewer."""
        if not self._closed:
            self._fanout.keys.lost()

    def report_estimate(self, bitrate: int) -> None:
        """What the receiver's network takes in all, bit/s, as the receiver estimates."""
        if not self._closed and bitrate > 0:
            self._fanout.on_estimate(self, bitrate)

    def close(self) -> None:
        """Leave; what waits in `video` or `audio` raises ViewerClosed. Any number of times."""
        if self._closed:
            return
        self._closed = True
        self._video.clear()
        self._audio.clear()
        self._video_came.set()
        self._audio_came.set()
        self._fanout.leave(self)

    # -- for the fan-out ----------------------------------------------------------------------------------------

    @property
    def wants_video(self) -> bool:
        return self._wants_video

    @property
    def wants_audio(self) -> bool:
        return self._wants_audio

    @property
    def queued(self) -> tuple[int, int]:
        """Pictures and sound packets that wait."""
        return len(self._video), len(self._audio)

    def push_video(self, packet: Packet[Stream]) -> bool:
        """False: the queue was full and is empty now."""
        if not self._wants_video:
            return True
        self._keyed = self._keyed or packet.is_keyframe
        if not self._keyed:
            return True
        if len(self._video) >= VIDEO_QUEUE:
            self._flush()
            return False
        self._video.append(packet)
        self._video_came.set()
        return True

    def push_audio(self, generation: int, packet: Packet[Stream]) -> bool:
        """False: the queue was full and is empty now."""
        if not self._wants_audio:
            return True
        if len(self._audio) >= AUDIO_QUEUE:
            self._flush()
            return False
        self._audio.append((generation, packet))
        self._audio_came.set()
        return True

    def drop_sound(self, generation: int) -> None:
        """Forget queued sound of generations before this one. Pictures stay: later ones are built on them."""
        self._audio = deque(item for item in self._audio if item[0] >= generation)

    def _flush(self) -> None:
        """Both kinds, so that they go on together; each when it is asked for again."""
        self._video.clear()
        self._audio.clear()
        self._wants_video = self._wants_audio = self._keyed = False
        self._video_came.set()  # who waits for the other kind asks again
        self._audio_came.set()

    def _check(self) -> None:
        if self._closed:
            raise ViewerClosed("This viewer's place in the session is closed.")


class Fanout:
    """A session's viewers. on_estimate: called with each estimate; on_leave: with each viewer that left."""

    def __init__(self, on_estimate: Callable[[Viewer, int], None], on_leave: Callable[[Viewer], None]) -> None:
        self.keys = KeyGate()
        self.on_estimate = on_estimate
        self._on_leave = on_leave
        self._viewers: set[Viewer] = set()
        self.overflows = 0

    def __len__(self) -> int:
        return len(self._viewers)

    @property
    def wants_video(self) -> bool:
        return any(viewer.wants_video for viewer in self._viewers)

    @property
    def wants_audio(self) -> bool:
        return any(viewer.wants_audio for viewer in self._viewers)

    @property
    def queued(self) -> tuple[int, int]:
        """Pictures and sound packets that wait with the viewer that has the most of each."""
        depths = [viewer.queued for viewer in self._viewers]
        return max((depth[0] for depth in depths), default=0), max((depth[1] for depth in depths), default=0)

    def join(self) -> Viewer:
        viewer = Viewer(self)
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)
        self._on_leave(viewer)

    def video(self, packet: Packet[Stream]) -> None:
        for viewer in self._viewers:
            self.overflows += not viewer.push_video(packet)

    def audio(self, generation: int, packet: Packet[Stream]) -> None:
        for viewer in self._viewers:
            self.overflows += not viewer.push_audio(generation, packet)

    def drop_sound(self, generation: int) -> None:
        for viewer in self._viewers:
            viewer.drop_sound(generation)

    def close(self) -> None:
        for viewer in tuple(self._viewers):
            viewer.close()
