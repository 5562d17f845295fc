"""The recogniser's process: `python -m pipeline.recognise_child SETTINGS`, ended by the end of its standard input.

In: recognise.HEADER (a number of samples), then as many of 16 kHz mono int16. Out: one JSON object a line: {"ready":
true} when the model is loaded, then {"text": …} for each sound, or {"error": …} and the end.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.recognise import HEADER

F32 = NDArray[np.float32]

RATE = 16_000
WHOLE, SHORT = 3000, 1500
"""Frames of 10 ms that Whisper looks at: its own window, and one that takes a third of the time and less."""

SHORT_SECONDS = 13.0
"""The longest sound for the short window; in a shorter one than that Whisper repeats itself too often."""

REPETITION = 2.2
"""Times that a text gets smaller by zlib: speech in such short pieces at most 1.4, repetition 2.7 and more."""

NICE = 5  # pictures and sound come first
NO_SPEECH, UNLIKELY = 0.6, -1.0
"""A stretch that Whisper itself takes for no speech, or whose words it had to guess (mean log probability)."""

_ASIDE = re.compile(r"[\[(*♪][^\])*♪]*[\])*♪]")  # [BLANK_AUDIO], (coughs), *sighs*, ♪


def words(segments: Any) -> str:
    """The text of what Whisper is sure of."""
    sure = [each.text for each in segments if each.no_speech_prob < NO_SPEECH and each.avg_logprob > UNLIKELY]
    text = " ".join(_ASIDE.sub(" ", "".join(sure)).split())
    return text if re.search(r"\w", text) else ""


def repeats(segments: Sequence[Any]) -> bool:
    """Whether it fell into saying the same again and again, as Whisper may in a short window."""
    return any(each.compression_ratio > REPETITION for each in segments)


class Model:
    """Whisper, with a window that is as short as the sound allows: its own is 30 s, most of it silence."""

    def __init__(self, settings: dict[str, Any]) -> None:
        from faster_whisper import WhisperModel, transcribe

        self._language = settings["language"] or None
        self._model = WhisperModel(
            settings["folder"],
            device=settings["device"],
            compute_type="int8" if settings["device"] == "cpu" else "default",
            cpu_threads=settings["threads"],
            local_files_only=True,
        )
        self._frames = WHOLE
        pad_or_trim = transcribe.pad_or_trim

        def padded(features: F32, length: int = WHOLE, *, axis: int = -1) -> F32:
            return np.asarray(pad_or_trim(features, min(length, self._frames), axis=axis))

        transcribe.pad_or_trim = padded  # faster-whisper has no setting for it

    def transcribe(self, sound: F32) -> str:
        seconds = len(sound) / RATE
        if seconds <= SHORT_SECONDS:
            found = self._segments(sound, SHORT)
            if not words(found) or not repeats(found):
                return words(found)
        return words(self._segments(sound, WHOLE))

    def _segments(self, sound: F32, frames: int) -> list[Any]:
        self._frames = frames
        segments, _ = self._model.transcribe(
            sound,
            language=self._language,
            beam_size=1,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
            max_new_tokens=round(24 + 12 * min(len(sound) / RATE, 30.0)),
        )
        return list(segments)


def main(settings: dict[str, Any], source: BinaryIO) -> None:
    model = Model(settings)
    model.transcribe(np.zeros(RATE, np.float32))  # the first time takes longer
    tell(ready=True)
    while header := source.read(HEADER.size):
        (count,) = HEADER.unpack(header)
        data = source.read(2 * count)
        if len(data) < 2 * count:
            return
        tell(text=model.transcribe(np.frombuffer(data, np.int16).astype(np.float32) / np.float32(32768)))


def tell(**message: Any) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    os.nice(NICE)
    try:
        main(json.loads(sys.argv[1]), sys.stdin.buffer)
    except Exception as error:
        tell(error=f"{type(error).__name__}: {error}"[:500])
        raise
