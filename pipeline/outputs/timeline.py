"""Lays a session's packets on the time of one film: from 0 on, with a keyframe first, and no hole in its sound."""

from __future__ import annotations

from dataclasses import dataclass

from avatars.avatar import FPS
from pipeline.audio_encoder import PACKET_SAMPLES
from pipeline.media import SAMPLE_RATE
from pipeline.video_encoder import CLOCK

PICTURE = CLOCK // FPS

FILLED = 3 * PACKET_SAMPLES
"""A hole in the sound that is shorter is filled with silence; one as long as this is cut out, of the pictures, too."""

_KEPT = 8  # cuts; pictures come at most half a second after the sound of their time


@dataclass(frozen=True, slots=True)
class Sound:
    """Where 20 ms of sound are laid, and where silence fills the hole before them. In 1/48000 s."""

    silence: range
    at: int


@dataclass(frozen=True, slots=True)
class _Segment:
    """From `clock` on the session's clock, the film goes on at `film`. In 1/90000 s."""

    clock: int
    film: int


class Timeline:
    """Pure. Pictures' times are in 1/90000 s, those of sound in 1/48000 s, both of the session's one clock. A picture
    is to be laid after the sound of its time.

    After a stall of the session its times jump, and the content goes on where it stopped: what was jumped is cut out.
    Left in, it would pull sound and picture apart in players that do not look at the times of sound; and silence in its
    place makes the next tenth of a second quiet, as Opus builds each packet on the one before.
    """

    def __init__(self) -> None:
        self._segments: list[_Segment] = []
        self._keyed = False
        self._sounded = False
        self._picture_end = 0
        self._last_picture = -1
        self._sound_end = 0

    @property
    def seconds(self) -> float:
        """How long the film is so far."""
        return max(self._picture_end / CLOCK, self._sound_end / SAMPLE_RATE)

    def cut(self) -> None:
        """What comes next is of another clock (the session slept): laid right behind what is there."""
        self._segments = []
        self._keyed = self._sounded = False

    def lost(self) -> None:
        """Packets were lost: the pictures go on with a keyframe."""
        self._keyed = False

    def begin(self, pts: int) -> None:
        """The first keyframe has come; also after `cut`. Else it does nothing."""
        if not self._segments:
            self._segments = [_Segment(pts, max(self._picture_end, _to_video(self._sound_end)))]

    def picture(self, pts: int, *, key: bool) -> int | None:
        """Where a picture is laid; None: it has to be left out, as there is no keyframe before it."""
        self._keyed = self._keyed or key
        if not self._keyed or not self._segments:
            return None
        at = max(self._film(pts), self._last_picture + 1)
        self._last_picture = at
        self._picture_end = at + PICTURE
        return at

    def sound(self, pts: int) -> Sound | None:
        """Where sound is laid; None: it has to be left out, as it is older than the first picture."""
        if not self._segments:
            return None
        last = self._segments[-1]
        at = _to_sound(last.film - last.clock) + pts
        if at < self._sound_end:
            return None
        if self._sounded and at - self._sound_end >= FILLED:
            self._segments = [*self._segments[-_KEPT:], _Segment(_to_video(pts), _to_video(self._sound_end))]
            at = self._sound_end
        hole = range(self._sound_end, at - PACKET_SAMPLES + 1, PACKET_SAMPLES)
        self._sounded = True
        self._sound_end = at + PACKET_SAMPLES
        return Sound(hole, at)

    def _film(self, pts: int) -> int:
        """A picture that was sent in a time that is cut out, stands at the cut."""
        limit: int | None = None
        for segment in reversed(self._segments):
            if pts >= segment.clock:
                at = segment.film + pts - segment.clock
                return at if limit is None else min(at, limit)
            limit = segment.film
        return self._segments[0].film


def _to_sound(time: int) -> int:
    return time * SAMPLE_RATE // CLOCK


def _to_video(time: int) -> int:
    return time * CLOCK // SAMPLE_RATE
