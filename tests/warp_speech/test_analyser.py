"""The analyser as the session uses it: any chunks in, one mouth a video frame out, closed in silence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.lipsync.warp.speech_analyser import HOLD_FRAMES, WarpAnalyser
from pipeline.media import SAMPLES_PER_FRAME, MouthShape, Pcm, PhonemeMark, SpeechChunk
from tests.warp_speech.sounds import analyse, babble, marks, music, noise, openings, pcm, silence

SENTENCE = np.concatenate((silence(0.2), babble(0.9), silence(0.3), babble(0.4, seed=1), silence(0.1)))[:-77]
SPOKEN = marks("pamaba lofi", start=0.3)


def cut(sound: Pcm, at: list[int]) -> list[Pcm]:
    return np.split(sound, sorted(p % (len(sound) + 1) for p in at))


def valid(mouth: MouthShape | None) -> bool:
    if mouth is None:
        return True
    values = (mouth.opening, mouth.rounding, mouth.teeth, mouth.closure)
    return all(0.0 <= v <= 1.0 for v in values) and -1.0 <= mouth.width <= 1.0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 10**6), max_size=12))
def test_any_chunking_of_sound_gives_the_same_mouths(at: list[int]) -> None:
    assert analyse(*[SpeechChunk(p) for p in cut(SENTENCE, at)]) == analyse(SpeechChunk(SENTENCE))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 10**6), max_size=12), st.permutations([True, False, True]))
def test_any_chunking_of_sentences_with_and_without_phonemes_gives_the_same(at: list[int], kinds: list[bool]) -> None:
    whole, pieces, offset = [], [], 0.0
    for kind in kinds:
        said = tuple(PhonemeMark(m.symbol, m.start + offset, m.end + offset) for m in SPOKEN) if kind else None
        whole.append(SpeechChunk(SENTENCE, phonemes=said))
        for i, piece in enumerate(cut(SENTENCE, at)):
            later = () if kind else None
            pieces.append(SpeechChunk(piece, phonemes=said if i == 0 else later))
        offset += len(SENTENCE) / 48_000
    assert analyse(*pieces) == analyse(*whole)


@pytest.mark.parametrize("samples", [0, 1, 1919, 1920, 1921, 3 * 1920, 50_000])
@pytest.mark.parametrize("phonemes", [None, (), SPOKEN])
def test_one_mouth_a_frame_of_sound(samples: int, phonemes: tuple[PhonemeMark, ...] | None) -> None:
    mouths = analyse(SpeechChunk(SENTENCE[:samples], phonemes=phonemes))
    assert len(mouths) == -(-samples // SAMPLES_PER_FRAME)


def test_single_samples_and_empty_chunks() -> None:
    sound = SENTENCE[9600 : 9600 + 4001]
    chunks = [SpeechChunk(c) for s in sound for c in (sound[:0], np.array([s], np.int16))]
    assert analyse(*chunks) == analyse(SpeechChunk(sound))


def test_nothing_said() -> None:
    analyser = WarpAnalyser()
    assert list(analyser.feed(SpeechChunk(silence(0)))) == []
    assert list(analyser.finish()) == []
    assert list(analyser.finish()) == []


def test_a_finished_utterance_takes_no_more() -> None:
    analyser = WarpAnalyser()
    analyser.finish()
    with pytest.raises(RuntimeError, match="finished"):
        analyser.feed(SpeechChunk(silence(0.1)))


def test_a_voice_opens_the_mouth_and_silence_closes_it_then_gives_it_back() -> None:
    mouths = analyse(SpeechChunk(np.concatenate((silence(1), babble(2), silence(1.5)))))
    opened = openings(mouths)
    assert mouths[:20] == [None] * 20
    assert opened[27:73].mean() > 0.2
    assert opened[25:75].max() > 0.4
    closing = [i for i in range(75, len(mouths)) if mouths[i] is not None]
    assert 3 <= len(closing) <= HOLD_FRAMES + 4
    assert closing == list(range(75, 75 + len(closing)))
    assert opened[closing[-3:]].max() == 0.0
    assert mouths[-15:] == [None] * 15


def test_look_ahead_is_at_most_two_frames() -> None:
    analyser = WarpAnalyser()
    out = 0
    for k in range(25):
        out += len(analyser.feed(SpeechChunk(SENTENCE[k * 1920 : (k + 1) * 1920])))
        assert out >= k + 1 - 2


def test_with_phonemes_no_sound_is_waited_for() -> None:
    analyser = WarpAnalyser()
    out = len(analyser.feed(SpeechChunk(SENTENCE[:1920], phonemes=SPOKEN)))
    for k in range(1, 20):
        assert out == k
        out += len(analyser.feed(SpeechChunk(SENTENCE[k * 1920 : (k + 1) * 1920], phonemes=())))


@pytest.mark.parametrize(
    "sound",
    [
        noise(30, 0.05),
        noise(5, 0.0005),
        music(10),
        pcm(np.full(96_000, 0.9)),
        pcm(np.sin(np.arange(240_000) * 0.05)),
        np.random.default_rng(0).choice(np.array([-32768, 32767], np.int16), 96_000),
    ],
    ids=["30 s of noise", "faint noise", "music", "a constant", "a tone", "clipped noise"],
)
def test_what_is_no_voice_keeps_the_mouth_shut(sound: Pcm) -> None:
    mouths = analyse(SpeechChunk(sound))
    assert all(valid(m) for m in mouths)
    assert openings(mouths).mean() < 0.03


@pytest.mark.parametrize("gain", [0.02, 0.1, 1.9, 40.0])
def test_loud_and_quiet_voices_open_alike(gain: float) -> None:
    voice = babble(3).astype(np.float64) / 32768
    normal = openings(analyse(SpeechChunk(pcm(voice))))
    other = analyse(SpeechChunk(pcm(voice * gain + 0.02)))
    assert all(valid(m) for m in other)
    assert abs(openings(other)[10:65].mean() - normal[10:65].mean()) < 0.2
