"""A session in figures."""

from __future__ import annotations

from dataclasses import dataclass

_SMOOTH = 0.05


class Mean:
    """A running mean of milliseconds, the newest of about 20 counting most."""

    def __init__(self) -> None:
        self.value: float | None = None

    def add(self, milliseconds: float) -> None:
        self.value = milliseconds if self.value is None else self.value + _SMOOTH * (milliseconds - self.value)

    @property
    def rounded(self) -> float | None:
        return None if self.value is None else round(self.value, 2)


@dataclass(frozen=True, slots=True)
class SessionStats:
    """Counts since the start; times are running means in ms (None: not measured yet); bitrates in bit/s.

    pictures: encoded. pictures_skipped: not encoded because two before it were not ready. pictures_late: not ready at
    their tick, and sent after it. release_late_ms: how late after its instant a tick comes. stalls: times that the
    clock jumped. underruns: gaps within an utterance. starts_late: utterances that began without their first mouths.
    utterances: queued now, with the one that is being said. utterances_begun: of all of them since the start.
    *_queue: of the viewer that has most waiting.
    """

    status: str
    generation: int
    viewers: int
    seconds: float
    position: int
    pictures: int
    pictures_skipped: int
    pictures_late: int
    keyframes: int
    sounds: int
    mouths: int
    mouths_late: int
    mouths_failed: int
    starts_late: int
    underruns: int
    stalls: int
    overflows: int
    draw_ms: float | None
    encode_ms: float | None
    sound_encode_ms: float | None
    analyse_ms: float | None
    mouth_ms: float | None
    release_late_ms: float | None
    bitrate: int
    sent_bitrate: int
    video_queue: int
    audio_queue: int
    utterances: int
    utterances_begun: int
    ahead_seconds: float
