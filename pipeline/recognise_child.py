"""The recogniser's process: `python -m pipeline.recognise_child SETTINGS`, ended by the end of its standard input.

In: recognise.HEADER (a number of samples), then as many of 16 kHz mono int16. Out: one JSON object a line: {"ready":
true} when the model is loaded, then {"text": …} for each sound, or {"error": …} and the end.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any, BinaryIO

import numpy as np

from pipeline.recognise import HEADER

NICE = 5  # pictures and sound come first
NO_SPEECH, UNLIKELY = 0.6, -1.0
"""A stretch that Whisper itself takes for no speech, or whose words it had to guess (mean log probability)."""

_ASIDE = re.compile(r"[\[(*♪][^\])*♪]*[\])*♪]")  # [BLANK_AUDIO], (coughs), *sighs*, ♪


def words(segments: Any) -> str:
    """The text of what Whisper is sure of."""
    sure = [each.text for each in segments if each.no_speech_prob < NO_SPEECH and each.avg_logprob > UNLIKELY]
    text = " ".join(_ASIDE.sub(" ", "".join(sure)).split())
    return text if re.search(r"\w", text) else ""


def main(settings: dict[str, Any], source: BinaryIO) -> None:
    from faster_whisper import WhisperModel

    model = WhisperModel(
        settings["folder"],
        device=settings["device"],
        compute_type="int8" if settings["device"] == "cpu" else "default",
        cpu_threads=settings["threads"],
        local_files_only=True,
    )

    def transcribe(sound: np.ndarray[Any, np.dtype[np.float32]]) -> str:
        segments, _ = model.transcribe(
            sound,
            language=settings["language"] or None,
            beam_size=1,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
        )
        return words(segments)

    transcribe(np.zeros(16_000, np.float32))  # the first time takes longer
    tell(ready=True)
    while header := source.read(HEADER.size):
        (count,) = HEADER.unpack(header)
        data = source.read(2 * count)
        if len(data) < 2 * count:
            return
        tell(text=transcribe(np.frombuffer(data, np.int16).astype(np.float32) / np.float32(32768)))


def tell(**message: Any) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    os.nice(NICE)
    try:
        main(json.loads(sys.argv[1]), sys.stdin.buffer)
    except Exception as error:
        tell(error=f"{type(error).__name__}: {error}"[:500])
        raise
