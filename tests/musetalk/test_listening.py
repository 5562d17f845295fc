"""Streaming features: equal to the offline prompts where they can be, in time with their frames, and never lagging."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="MuseTalk needs torch: pip install -r requirements-gpu.txt")
import torch

from pipeline.lipsync.musetalk import analyser, prompts
from pipeline.lipsync.musetalk.installation import find
from pipeline.lipsync.musetalk.listening import CONTEXT, FRAME, OVERLAP, POSITION, Hearing, known_frames
from pipeline.lipsync.musetalk.prompts import LAYERS, SEGMENT, WIDTH, Listener

from .made_faces import GOLDEN

golden = [
    pytest.mark.shared,
    pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden installation is missing: {GOLDEN}"),
]
Encoder = Callable[[np.ndarray], torch.Tensor]


def golden_test(function: Callable[..., None]) -> Callable[..., None]:
    for mark in golden:
        function = mark(function)
    return function


@pytest.fixture(scope="module")
def listener() -> Listener:
    torch.set_num_threads(1)
    return Listener(find(GOLDEN))


def speech(seconds: float) -> np.ndarray:
    path = GOLDEN.parents[1] / "media" / "speech-english-35s-16k.wav"
    if not path.is_file():
        pytest.skip(f"the speech is missing: {path}")
    import wave

    with wave.open(str(path)) as file:
        data = np.frombuffer(file.readframes(round(seconds * 16000)), np.int16)
    return data.astype(np.float32) / 32768


def hear(hearing: Hearing, encode: Encoder) -> np.ndarray:
    """Encode while it wants; the new frames' prompts."""
    out = []
    while hearing.wants:
        block = hearing.take(encode(hearing.sound()))
        if block is not None:
            out += [block.window(block.first + k).numpy() for k in range(block.count)]
    return np.array(out).reshape(-1, 50, WIDTH)


def marks(sound: np.ndarray, at: int = 0) -> torch.Tensor:
    """A pretended encoder: each position's features are the value of its first sample (0 where there is none)."""
    out = np.zeros((1500, LAYERS, WIDTH), np.float32)
    values = sound[::POSITION]
    out[: len(values)] = values[:, None, None]
    return torch.from_numpy(out)


def positions(samples: int) -> np.ndarray:
    """Sound that tells where it is: sample s has the value s // 320 + 1."""
    return (np.arange(samples) // POSITION + 1).astype(np.float32)


@golden_test
def test_an_utterance_known_whole_equals_the_offline_prompts(listener: Listener) -> None:
    sound = speech(2.31)
    whole = listener.prompts(sound)
    hearing = Hearing()
    hearing.feed(sound, last=True)
    got = hear(hearing, lambda part: listener.states([part])[0])
    assert len(got) == 58  # the begun frame has a mouth as well
    assert np.abs(got[: len(whole)] - whole).max() < 1e-4
    assert hearing.complete


@golden_test
def test_frames_that_come_with_the_end_equal_the_offline_prompts(listener: Listener) -> None:
    sound = speech(1.5)
    hearing = Hearing()
    hearing.feed(sound[:16000])
    early = hear(hearing, lambda part: listener.states([part])[0])
    assert len(early) == known_frames(16000) == 22
    hearing.feed(sound[16000:], last=True)
    rest = hear(hearing, lambda part: listener.states([part])[0])
    whole = listener.prompts(sound)
    assert np.abs(rest[: len(whole) - 22] - whole[22:]).max() < 1e-4
    # Encoded before all was there, the others are near: nearer to their own frame's than to any other's.
    for frame in (5, 15, 21):
        distances = [np.abs(early[frame] - whole[other]).mean() for other in range(37)]
        assert int(np.argmin(distances)) == frame


def test_past_thirty_seconds_known_whole_is_cut_as_the_reference_does_it() -> None:
    hearing = Hearing()
    samples = SEGMENT + 24000
    hearing.feed(positions(samples), last=True)
    asked: list[int] = []

    def encode(part: np.ndarray) -> torch.Tensor:
        asked.append(len(part))
        return marks(part)

    got = hear(hearing, encode)
    assert asked == [SEGMENT, 24000]
    features = np.concatenate([marks(positions(samples)[at : at + SEGMENT]).numpy() for at in (0, SEGMENT)])
    expected = prompts.windows(features[: samples // POSITION], samples // FRAME)
    assert np.array_equal(got[: len(expected)], expected)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 60_000), min_size=1, max_size=40), st.booleans())
def test_every_frame_comes_once_aligned_and_as_soon_as_its_context_is_there(cuts: list[int], long: bool) -> None:
    """However the sound is cut, and beyond 30 s."""
    if long:
        cuts = [SEGMENT - 30_000, *cuts, SEGMENT]
    total = sum(cuts)
    sound = positions(total)
    hearing = Hearing()
    got: list[np.ndarray] = []
    at = 0
    for k, cut in enumerate(cuts):
        last = k == len(cuts) - 1
        hearing.feed(sound[at : at + cut], last)
        at += cut

        def encode(part: np.ndarray) -> torch.Tensor:
            assert len(part) <= SEGMENT
            return marks(part)

        got += list(hear(hearing, encode))
        assert len(got) == hearing.known == (-(-total // FRAME) if last else known_frames(at))
    whole = total // POSITION
    for frame, prompt in enumerate(got):
        tokens = prompt.reshape(10, LAYERS, WIDTH)[:, 0, 0]
        expected = [p + 1 if 0 <= p < whole else 0 for p in range(2 * frame - 4, 2 * frame + 6)]
        # An utterance's last, cut position is left out, as the reference does.
        assert tokens.tolist() == expected, frame


def test_a_long_utterance_keeps_sound_from_before_when_it_rolls_over() -> None:
    hearing = Hearing()
    sizes = []
    sound = positions(3 * SEGMENT)
    for at in range(0, len(sound), 16_000):
        hearing.feed(sound[at : at + 16_000])
        while hearing.wants:
            part = hearing.sound()
            sizes.append(len(part))
            hearing.take(marks(part))
    after = [size for before, size in itertools.pairwise(sizes) if size < before]
    assert len(after) == 4  # at 30 s, then every 20 s
    assert min(after) >= OVERLAP
    assert hearing._sound.size <= SEGMENT + 16_000  # what is behind is dropped


def test_the_server_waits_for_as_much_sound_as_the_worker_needs() -> None:
    assert analyser.CONTEXT == 3 * CONTEXT
    assert round(0.1325 * 16000) == CONTEXT
    assert known_frames(CONTEXT - 1) == 0
    assert known_frames(CONTEXT) == 1
    assert known_frames(CONTEXT + FRAME) == 2


def test_a_finished_utterance_takes_no_more() -> None:
    hearing = Hearing()
    hearing.feed(np.zeros(10, np.float32), last=True)
    with pytest.raises(RuntimeError):
        hearing.feed(np.zeros(10, np.float32))
