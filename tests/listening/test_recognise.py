"""faster-whisper in its process: right words, no words for noise, the hurried first, and an end of it survived."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline import recognise
from pipeline.ear import I16, to_ear
from pipeline.media import Pcm
from pipeline.recognise import RecogniserError, WhisperRecogniser, WhisperSettings
from pipeline.recognise_child import SHORT, WHOLE, Model, repeats, words
from pipeline.recognise_models import NAMES, ModelMissing, find

Speak = Callable[[str], Pcm]

pytestmark = pytest.mark.timeout(120)


@contextlib.asynccontextmanager
async def running(settings: WhisperSettings) -> AsyncIterator[WhisperRecogniser]:
    recogniser = WhisperRecogniser(settings)
    try:
        yield recogniser
    finally:
        await recogniser.close()


def children() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any("recognise_child" in part for part in child.cmdline()):
                found.append(child)
    return found


def noise(seconds: float, level: float) -> I16:
    return np.random.default_rng(2).normal(0, level, round(seconds * 16_000)).astype(np.int16)


async def test_what_is_said_is_written_and_noise_is_nothing(whisper: Path, speak: Speak) -> None:
    async with running(WhisperSettings(whisper)) as recogniser:
        lag = asyncio.create_task(longest_lag())
        said = await recogniser.transcribe(to_ear([speak("Why is the sky blue? I would like to know.")]), urgent=True)
        assert said == "Why is the sky blue? I would like to know."
        for sound in (np.zeros(16_000, np.int16), noise(1.0, 300), noise(2.0, 3_000)):
            assert await recogniser.transcribe(sound, urgent=False) == ""
        lag.cancel()
        assert (await lag) < 0.25, "the event loop stood still"
        assert len(children()) == 1
        assert children()[0].nice() > psutil.Process().nice()
    assert children() == []


async def longest_lag() -> float:
    """Seconds that the event loop stood still, at worst, while another thread went on; until it is cancelled."""
    stop, steps, worst = threading.Event(), 0, 0.0

    def go_on() -> None:
        nonlocal steps
        while not stop.wait(0.01):
            steps += 1

    beside = threading.Thread(target=go_on)
    beside.start()
    try:
        while True:
            before = steps
            await asyncio.sleep(0.01)
            worst = max(worst, (steps - before) * 0.01)
    except asyncio.CancelledError:
        return worst
    finally:
        stop.set()
        beside.join()


async def test_the_urgent_comes_first_and_what_nobody_waits_for_is_left_out(whisper: Path, speak: Speak) -> None:
    async with running(WhisperSettings(whisper)) as recogniser:
        yes, done = to_ear([speak("Yes.")]), []

        async def ask(name: str, urgent: bool) -> None:
            await recogniser.transcribe(yes, urgent=urgent)
            done.append(name)

        tasks = [asyncio.create_task(ask(f"partial {n}", False)) for n in range(3)]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(ask("final", True)))
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.wait(tasks)
        assert done[0] == "final"
        assert sorted(done) == ["final", "partial 0", "partial 2"]


async def test_a_process_that_dies_is_told_and_started_again(
    whisper: Path, speak: Speak, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognise, "REST_SECONDS", 0.5)
    async with running(WhisperSettings(whisper)) as recogniser:
        yes = to_ear([speak("Yes.")])
        assert await recogniser.transcribe(yes, urgent=True) == "Yes."
        asking = asyncio.create_task(recogniser.transcribe(np.tile(yes, 60), urgent=True))
        await asyncio.sleep(0.05)
        children()[0].kill()
        with pytest.raises(RecogniserError, match="process ended"):
            await asking
        assert await recogniser.transcribe(yes, urgent=True) == "Yes."


async def test_a_folder_that_is_no_model_is_an_error_and_not_tried_again_at_once(tmp_path: Path) -> None:
    async with running(WhisperSettings(tmp_path)) as recogniser:
        with pytest.raises(RecogniserError, match="model"):
            await recogniser.transcribe(np.zeros(1_600, np.int16), urgent=True)
        with pytest.raises(RecogniserError, match="not started again at once"):
            await recogniser.transcribe(np.zeros(1_600, np.int16), urgent=True)
    assert children() == []


async def test_too_many_requests_are_refused(whisper: Path) -> None:
    async with running(WhisperSettings(whisper)) as recogniser:
        sound = np.zeros(1_600, np.int16)
        waiting = [
            asyncio.create_task(recogniser.transcribe(sound, urgent=False)) for _ in range(recognise.MOST_WAITING)
        ]
        await asyncio.sleep(0)
        with pytest.raises(RecogniserError, match="wait already"):
            await recogniser.transcribe(sound, urgent=True)
        await recogniser.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, RecogniserError) for each in results)
        with pytest.raises(RecogniserError, match="closed"):
            await recogniser.transcribe(sound, urgent=True)


async def test_closing_ends_a_request_under_way(whisper: Path) -> None:
    recogniser = WhisperRecogniser(WhisperSettings(whisper))
    await recogniser.transcribe(np.zeros(1_600, np.int16), urgent=True)
    asking = asyncio.create_task(recogniser.transcribe(noise(25.0, 3_000), urgent=True))
    await asyncio.sleep(0.05)
    await asyncio.wait_for(recogniser.close(), 30)
    with pytest.raises(RecogniserError, match="closed"):
        await asyncio.wait_for(asking, 30)
    assert children() == []


@pytest.mark.shared
def test_the_short_window_is_quicker_and_hears_the_same(whisper: Path, other_speakers: list[I16], speak: Speak) -> None:
    model = Model({"folder": str(whisper), "language": "", "device": "cpu", "threads": 1})
    pieces = [to_ear([speak("How does the water get into the leaves of a tall tree?")])]
    pieces += [
        speaker[begin : begin + 48_000] for speaker in other_speakers for begin in range(0, len(speaker), 48_000)
    ]
    sounds = [piece.astype(np.float32) / np.float32(32768) for piece in pieces if len(piece) > 24_000]
    took = {WHOLE: 0.0, SHORT: 0.0}
    texts: dict[int, list[str]] = {WHOLE: [], SHORT: []}
    for sound in sounds:
        for frames in took:  # in turn: what else the machine does slows both
            start = time.process_time()
            found = model._segments(sound, frames)
            took[frames] += time.process_time() - start
            texts[frames].append(words(found))
    assert took[SHORT] < 0.6 * took[WHOLE], took
    same, total = 0, 0
    for whole, sound in zip(texts[WHOLE], sounds, strict=True):
        short = model.transcribe(sound).lower()
        heard = re.findall(r"\w+", whole.lower())
        same += sum(word in short for word in heard)
        total += len(heard)
        assert len(short.split()) <= len(heard) + 4, "it repeats itself"
    assert total > 30
    assert same / total > 0.9


class Segment:
    def __init__(self, text: str, no_speech: float = 0.1, probability: float = -0.2, ratio: float = 1.0) -> None:
        self.text, self.no_speech_prob, self.avg_logprob = text, no_speech, probability
        self.compression_ratio = ratio

    def __repr__(self) -> str:
        return repr(self.text)


@pytest.mark.parametrize(
    ("segments", "text"),
    [
        ([Segment(" Yes."), Segment(" I do.")], "Yes. I do."),
        ([Segment(" Thank you.", no_speech=0.8)], ""),
        ([Segment(" you", probability=-1.4)], ""),
        ([Segment(" [BLANK_AUDIO]")], ""),
        ([Segment(" (coughs) Why?")], "Why?"),
        ([Segment(" *sighs*")], ""),
        ([Segment(" ♪ ♪")], ""),
        ([Segment(" ...")], ""),
        ([Segment("天空为什么是蓝色的？")], "天空为什么是蓝色的？"),
        ([], ""),
    ],
    ids=repr,
)
def test_what_counts_as_words(segments: list[Segment], text: str) -> None:
    assert words(segments) == text


def test_what_counts_as_repetition() -> None:
    assert not repeats([Segment("Why is the sky blue?", ratio=1.4)])
    assert repeats([Segment("Well."), Segment("well today well today", ratio=6.0)])


def test_a_model_is_found_by_its_folder_or_by_name(whisper: Path, tmp_path: Path) -> None:
    assert find(str(whisper), tmp_path) == whisper
    (tmp_path / "tiny.en").symlink_to(whisper)
    assert find("tiny.en", tmp_path) == tmp_path / "tiny.en"
    with pytest.raises(ModelMissing, match=r"base lacks config\.json.*models fetch asr"):
        find("base", tmp_path)
    with pytest.raises(ModelMissing, match="not a model"):
        find(str(tmp_path), tmp_path)
    assert "tiny.en" in NAMES
