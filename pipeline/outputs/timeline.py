"""Lays a session's packets on the time of one film: from 0 on, with a keyframe first, and no hole in its sound."""

from __future__ import annotations

from dataclasses import dataclass

from avatars.avatar import FPS
from pipeline.audio_encoder import PACKET_SAMPLES
from pipeline.media import SAMPLE_RATE
from pipeline.video_encoder import CLOCK

PICTURE = CLOCK // FPS


@dataclass(frozen=True, slots=True)
class Sound:
    """Where 20 ms of sound are laid, and where silence fills the hole before them. In 1/48000 s."""

    silence: range
    at: int


class Timeline:
    """Pure. Pictures' times are in 1/90000 s, those of sound in 1/48000 s, both of the session's one clock.

    After a stall of the session its times jump: the picture before it then stands for longer, and the sound's hole is
    filled, as many players run the sound on without looking at its times.
    """

    def __init__(self) -> None:
        self._clock = 0  # what the session's clock shows …
        self._film = 0  # … at this time of the film
        self._begun = self._keyed = False
        self._picture_end = 0
        self._last_picture = -1
        self._sound_end = 0

    @property
    def seconds(self) -> float:
        """How long the film is so far."""
        return max(self._picture_end / CLOCK, self._sound_end / SAMPLE_RATE)

    def cut(self) -> None:
        """What comes next is of another clock (the session slept): laid right behind what is there."""
        self._begun = self._keyed = False

    def lost(self) -> None:
        """Packets were lost: the pictures go on with a keyframe, the times stay."""
        self._keyed = False

    def picture(self, pts: int, *, key: bool) -> int | None:
        """Where a picture is laid; None: it has to be left out, as there is no keyframe before it."""
        self._keyed = self._keyed or key
        if not self._keyed:
            return None
        if not self._begun:
            self._begun = True
            self._clock, self._film = pts, max(self._picture_end, self._sound_end * CLOCK // SAMPLE_RATE)
        at = max(self._film + pts - self._clock, self._last_picture + 1)
        self._last_picture = at
        self._picture_end = at + PICTURE
        return at

    def sound(self, pts: int) -> Sound | None:
        """Where sound is laid; None: it has to be left out, as it is older than the first picture."""
        if not self._begun:
            return None
        at = self._film * SAMPLE_RATE // CLOCK + pts - self._clock * SAMPLE_RATE // CLOCK
        if at < self._sound_end:
            return None
        hole = range(self._sound_end, at - PACKET_SAMPLES + 1, PACKET_SAMPLES)
        self._sound_end = at + PACKET_SAMPLES
        return Sound(hole, at)
