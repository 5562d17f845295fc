"""The strict test: N sessions that all speak without a pause, sound in 200 ms chunks, through the real worker.

Their utterances are 4 to 8 s long and follow each other at once, so that first mouths are drawn under the whole load.
"""

from __future__ import annotations

import heapq
import itertools
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from avatars.avatar import Avatar, pingpong
from pipeline.lipsync.musetalk.analyser import MuseTalkAnalyser, Spoken
from pipeline.lipsync.musetalk.engine import MuseTalkFace
from pipeline.lipsync.musetalk.renderer import Renderer
from pipeline.media import FRAME_SECONDS, SAMPLES_PER_FRAME, MouthPatch, MouthShape, Pcm, SpeechChunk

CHUNK = 0.2
DELAY, CPU_DELAY = 0.25, 2.0
"""Seconds from a session's first sound to its first picture. A frame's features need sound up to 132.5 ms after its
start, so with chunks of 200 ms some are known only 120 ms after they would be shown without delay: 130 ms are left.
A CPU needs longer than that to encode the sound."""
SHORT = 8.0  # seconds of the runs that look for the number
SETTLE = 1.0  # of each session's beginning is not counted for the share on time, but for the first frame


class _NoFace:
    """In the place of warp's: a voice everywhere, no picture, no cost. A mouth that falls back to it counts as late."""

    def analyser(self) -> _Voice:
        return _Voice()

    def idle(self, frame: int) -> None:
        return None

    def submit(self, frame: int, mouth: MouthShape, presence: float, deadline: float) -> Future[MouthPatch | None]:
        done: Future[MouthPatch | None] = Future()
        done.set_result(None)
        return done


class _Voice:
    _shape = MouthShape(opening=0.5)

    def __init__(self) -> None:
        self._samples = self._given = 0

    def feed(self, chunk: SpeechChunk) -> Sequence[MouthShape]:
        self._samples += len(chunk.pcm)
        new = self._samples // SAMPLES_PER_FRAME - self._given
        self._given += new
        return [self._shape] * new

    def finish(self) -> Sequence[MouthShape]:
        return []


@dataclass(slots=True)
class _Session:
    face: MuseTalkFace
    analyser: MuseTalkAnalyser
    began: float
    delay: float
    number: int
    fed: int = 0  # samples
    starts: list[int] = field(default_factory=lambda: [0])  # the first frame of each utterance
    asked: int = 0  # frames
    done: dict[int, float | None] = field(default_factory=dict)  # when; None: no patch
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ends(self) -> int:
        """The frame at which this utterance ends and the next begins."""
        return self.starts[-1] + 25 * (4 + (self.number + len(self.starts)) % 5)

    def finished(self, frame: int, future: Future[MouthPatch | None]) -> None:
        now = time.monotonic()
        good = not future.cancelled() and future.exception() is None and future.result() is not None
        with self.lock:
            self.done[frame] = now if good else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """on_time: share of all frames, worst: of the session that had least. gap: 99th percentile between shown mouths, s.

    first: seconds from each utterance's first sound to its first patch, once all sessions speak.
    """

    sessions: int
    seconds: float
    on_time: float
    worst: float
    gap: float
    first: list[float]

    @property
    def passed(self) -> bool:
        return self.on_time >= 0.99 and self.gap <= 0.0801

    @property
    def median(self) -> float:
        return statistics.median(self.first) if self.first else float("nan")

    @property
    def percentile95(self) -> float:
        return float(np.percentile(self.first, 95)) if self.first else float("nan")


def run(renderer: Renderer, avatar: Avatar, speech: Pcm, sessions: int, seconds: float, delay: float) -> Outcome:
    """All sessions speak `speech` over and over for `seconds`; each begins at its own moment of the first second."""
    faces = [MuseTalkFace(avatar, _NoFace(), renderer) for _ in range(sessions)]
    for face in faces:
        if not renderer.wait_opened(face.key, 60.0):
            raise RuntimeError("the worker could not open the avatar")
    now = time.monotonic() + 0.2
    everyone = [
        _Session(face, face.analyser(), now + k * (1.0 / sessions), delay, k * 7919) for k, face in enumerate(faces)
    ]
    events = [(session.began, k) for k, session in enumerate(everyone)]
    heapq.heapify(events)
    with ThreadPoolExecutor(2, thread_name_prefix="speech") as pool:
        while events:
            due, k = heapq.heappop(events)
            session = everyone[k]
            time.sleep(max(0.0, due - time.monotonic()))
            pool.submit(_chunk, session, speech, avatar.count).result()
            if due + CHUNK - session.began < seconds - 1e-6:
                heapq.heappush(events, (due + CHUNK, k))
        time.sleep(delay + 1.0)
    return _outcome(everyone, seconds)


def _chunk(session: _Session, speech: Pcm, count: int) -> None:
    """The next 200 ms of sound have come: hear them, and have drawn what became known."""
    samples = round(CHUNK * 48000)
    at = (session.number * 48 + session.fed) % (len(speech) - samples)
    session.fed += samples
    mouths = list(session.analyser.feed(SpeechChunk(speech[at : at + samples])))
    over = session.fed // SAMPLES_PER_FRAME >= session.ends
    if over:
        mouths += session.analyser.finish()
    for mouth in mouths:
        frame = session.asked
        session.asked += 1
        assert isinstance(mouth, Spoken)
        deadline = session.began + session.delay + frame * FRAME_SECONDS
        future = session.face.submit(pingpong(frame, count), mouth, 1.0, deadline)
        future.add_done_callback(lambda done, frame=frame: session.finished(frame, done))
    if over:
        session.starts.append(session.asked)
        session.analyser = session.face.analyser()


def _outcome(everyone: list[_Session], seconds: float) -> Outcome:
    shares, gaps, first = [], [], []
    for session in everyone:
        counted = range(round(SETTLE / FRAME_SECONDS), session.asked)
        shown = []
        for frame in counted:
            at = session.done.get(frame)
            if at is not None and at <= session.began + session.delay + frame * FRAME_SECONDS:
                shown.append(frame)
        shares.append(len(shown) / max(1, len(counted)))
        gaps += [(b - a) * FRAME_SECONDS for a, b in itertools.pairwise(shown)]
        for start, end in itertools.pairwise([*session.starts, session.asked]):
            drawn = [at for at in (session.done.get(k) for k in range(start, end)) if at is not None]
            if drawn and (start or len(everyone) == 1):
                first.append(min(drawn) - session.began - start * FRAME_SECONDS)
    gap = float(np.percentile(gaps, 99)) if gaps else float("inf")
    return Outcome(len(everyone), seconds, sum(shares) / len(shares), min(shares), gap, first)


def largest(
    renderer: Renderer, avatar: Avatar, speech: Pcm, guess: int, seconds: float, budget: float, delay: float
) -> tuple[Outcome, list[Outcome]]:
    """The largest number of sessions, from `guess` downward, that passes for `seconds`; and all runs, short ones first.

    budget: seconds for all of it; the last run tells how far it came.
    """
    until = time.monotonic() + budget
    tried: list[Outcome] = []
    sessions = max(1, guess)
    while sessions > 1 and time.monotonic() + SHORT + seconds < until:
        tried.append(run(renderer, avatar, speech, sessions, SHORT, delay))
        if tried[-1].passed:
            break
        sessions -= 1
    while True:
        tried.append(run(renderer, avatar, speech, sessions, seconds, delay))
        if tried[-1].passed or sessions == 1 or time.monotonic() + seconds > until:
            return tried[-1], tried
        sessions -= 1
