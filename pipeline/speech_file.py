"""A recording, in any format PyAV reads as sound, to speech: decoded in a child process under limits, as a stream."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from avatars.sandbox import Completed, Limits, run_limited
from pipeline.media import SAMPLE_RATE, Pcm, SpeechChunk
from pipeline.voices.chunks import CHUNK
from pipeline.voices.voice import VoiceError

_ROOT = Path(__file__).resolve().parents[1]
_BYTES = 2  # a sample
_CHILDREN = 4  # at a time; any student may send recordings, and each child takes some 60 MB
_places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

MESSAGES = {
    "audio_unreadable": "This file cannot be read as sound. Send WAV, MP3, M4A, Ogg, Opus, WebM or FLAC.",
    "audio_empty": "There is no sound in this file.",
    "audio_too_long": "This recording is longer than {max_seconds:.0f} seconds.",
    "disk_full": "The server has no room to read this recording now. Try again later.",
}
"""What a SpeechFileError's code means, for people."""


class SpeechFileError(VoiceError):
    """A recording that cannot be spoken. code: one of MESSAGES."""


def limits_for(max_seconds: float) -> Limits:
    """What the decoding child may use for a recording of at most `max_seconds`: 20 times what it was seen to need."""
    return Limits(
        cpu_seconds=20 + round(max_seconds / 10),
        memory_bytes=1 << 30,
        file_bytes=round((max_seconds + 2) * SAMPLE_RATE * _BYTES),
        wall_seconds=60 + max_seconds / 4,
        nice=5,
    )


async def decode_speech(
    path: Path,
    *,
    max_seconds: float = 600.0,
    limits: Limits | None = None,
    folder: Path | None = None,
    on_decoded: Callable[[int], None] | None = None,
) -> AsyncGenerator[SpeechChunk, None]:
    """The sound of a file as mono int16 at 48 kHz, in chunks of 0.4 s, its loudness as it is; no words, no phonemes.

    The first chunk comes while the rest is still decoded. At most _CHILDREN files are decoded at a time; others wait.
    Raises SpeechFileError (audio_unreadable, audio_empty, audio_too_long, disk_full): at the first chunk if the file's
    head tells, else as soon as it is found out. A file that breaks off is spoken as far as it goes. `aclose()` ends the
    child; the file is left where it is. folder: where what is decoded lies (default: the system's for such files).
    on_decoded: told the bytes it takes, once all of it is there.
    """
    handle, name = tempfile.mkstemp(prefix="lectern-speech-", suffix=".pcm", dir=folder)
    state = _State(Path(name))
    job = json.dumps({"source": str(path), "output": name, "max_seconds": max_seconds})
    child = asyncio.create_task(
        _in_turn(
            [sys.executable, "-m", "pipeline.speech_file_child", job],
            limits or limits_for(max_seconds),
            state.line,
        ),
        name="decode speech",
    )

    def ended(child: asyncio.Task[Completed]) -> None:
        state.changed.set()
        if on_decoded is not None and not child.cancelled() and child.exception() is None:
            on_decoded(state.samples * _BYTES)

    child.add_done_callback(ended)
    taken = 0
    try:
        while state.error is None:
            ready = min(CHUNK, state.samples - taken)
            if ready == CHUNK or (child.done() and ready):
                yield SpeechChunk(_read(handle, taken, ready))
                taken += ready
                continue
            if child.done():
                break
            await state.changed.wait()  # the child's wall time is limited
            state.changed.clear()
        _raise(state, None if not child.done() else child.result(), max_seconds)
    finally:
        child.cancel()
        await asyncio.wait({child})
        os.close(handle)
        state.output.unlink(missing_ok=True)


async def _in_turn(args: list[str], limits: Limits, on_line: Callable[[str], None]) -> Completed:
    """Run the child when there is a place for it; the wait is bounded by the wall time of those before it."""
    places = _places.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_CHILDREN))
    async with places:
        return await run_limited(args, limits=limits, on_line=on_line, cwd=_ROOT)


@dataclass
class _State:
    """What the child has said so far."""

    output: Path
    samples: int = 0
    error: str | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def line(self, line: str) -> None:
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            self.error = message["error"]
        else:
            # the child has it open, and so have we: nothing is left behind, whatever ends us
            self.output.unlink(missing_ok=True)
            self.samples = int(message["samples"])
        self.changed.set()


def _read(handle: int, begin: int, count: int) -> Pcm:
    """Samples from the file; they were written a moment ago and lie in memory."""
    return np.frombuffer(os.pread(handle, count * _BYTES, begin * _BYTES), np.int16)


def _raise(state: _State, completed: Completed | None, max_seconds: float) -> None:
    """Raise what went wrong, if anything did."""
    code = state.error
    if code is None and completed is not None and completed.returncode:
        if completed.reason == "size":
            code = "audio_too_long"
        elif not state.samples:
            code = "audio_unreadable"
    if code is None and not state.samples:
        code = "audio_empty"
    if code is not None:
        raise SpeechFileError(code, MESSAGES[code].format(max_seconds=max_seconds))
