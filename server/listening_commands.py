"""The commands that are the listening's: fetching its model, and looking whether it works."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from importlib.util import find_spec
from typing import Literal

import numpy as np

from pipeline.hub.fetch import FetchError
from pipeline.recognise import RecogniserError, WhisperRecogniser, WhisperSettings
from pipeline.recognise_models import FETCH_COMMAND, fetch
from server.fetch_bars import FetchBars
from server.listening import REASONS, Obstacle, recogniser_settings
from server.settings import Settings

INSTALL = "make listening"
_MEND: dict[Obstacle, str] = {"not_installed": INSTALL, "no_model": FETCH_COMMAND}


def fetch_model(settings: Settings, arguments: argparse.Namespace) -> int:
    """`models fetch asr`: 1 when it could not be had."""
    listening = settings.listening
    model = arguments.model or listening.model
    bars = FetchBars(sys.stderr)
    try:
        folder = fetch(model, listening.models_dir, bars.show)
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        bars.end()
    print(f"The model is in {folder}.")
    if model != listening.model:
        print(f"Use it with: LECTERN_LISTENING__MODEL={model}")
    if find_spec("faster_whisper") is None:
        print(f"It also needs the packages of requirements-asr.txt: {INSTALL}")
    return 0


def try_recogniser(settings: Settings) -> tuple[Literal["ok", "note", "bad"], str, str]:
    """For the doctor: how it is, what was found, and what to do about it. Takes seconds."""
    found = recogniser_settings(settings.listening)
    if not isinstance(found, WhisperSettings):
        return "note", f"typing only. {REASONS[found]}", _MEND.get(found, "")
    try:
        loaded, took = asyncio.run(_timed(found))
    except RecogniserError as error:
        return "bad", f"{found.folder.name} does not work: {error}"[:120], "is it a model of faster-whisper?"
    return "ok", f"{found.folder.name}: loaded in {loaded:.1f} s, {took * 1000:.0f} ms for a second of sound", ""


async def _timed(settings: WhisperSettings) -> tuple[float, float]:
    """Seconds to load the model, and for a second of noise."""
    noise = np.random.default_rng(0).normal(0, 500, 16_000).astype(np.int16)
    recogniser = WhisperRecogniser(settings)
    times = [time.perf_counter()]
    try:
        for _ in range(2):
            await recogniser.transcribe(noise, urgent=True)
            times.append(time.perf_counter())
        return times[1] - times[0], times[2] - times[1]
    finally:
        await recogniser.close()
