"""Mouths from phonemes: closures are seen, vowels open, lips move smoothly, odd symbols do no harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.lipsync.warp.speech_phonemes import LABEL_LEAD, TARGETS, PhonemeTrack, phones
from pipeline.media import CLOSED, MouthShape, PhonemeMark, SpeechChunk
from pipeline.voices.hibari_model import HibariModel
from tests.warp_speech.sounds import analyse, babble, marks, openings, silence


def said(symbols: tuple[PhonemeMark, ...], seconds: float = 3.0) -> list[MouthShape | None]:
    return analyse(SpeechChunk(silence(seconds), phonemes=symbols))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("pbmaiufstlkəˈ "), st.floats(0.02, 0.2)), min_size=1, max_size=25),
    st.floats(0.1, 0.2),
)
def test_every_b_m_p_closes_the_lips_however_short(parts: list[tuple[str, float]], start: float) -> None:
    out = []
    for symbol, length in parts:
        out.append(PhonemeMark(symbol, start, start + length))
        start += length
    mouths = said(tuple(out), start + 0.5)
    for phone in phones(out):
        if phone.symbol in ("p", "b", "m"):
            first, last = int(phone.start * 25), int(phone.end * 25)
            assert any(m is not None and m.opening == 0 and m.closure == 1 for m in mouths[first : last + 1])


def test_labels_are_moved_to_the_sound() -> None:
    track = phones((PhonemeMark("", 0, 0.2), PhonemeMark("a", 0.2, 0.4), PhonemeMark("n", 0.4, 0.5)))
    assert [p.symbol for p in track] == ["", "a", "n"]
    assert track[1].start == pytest.approx(0.2 - LABEL_LEAD)
    assert track[1].end == pytest.approx(0.4 - LABEL_LEAD)


def test_stress_marks_and_short_spaces_join_long_ones_part() -> None:
    track = phones(
        (
            PhonemeMark("t", 0.1, 0.2),
            PhonemeMark("ˈ", 0.2, 0.24),
            PhonemeMark("a", 0.24, 0.3),
            PhonemeMark("ː", 0.3, 0.4),
            PhonemeMark(" ", 0.4, 0.5),
            PhonemeMark("n", 0.5, 0.6),
            PhonemeMark(",", 0.6, 0.9),
            PhonemeMark("o", 0.9, 1.0),
        )
    )
    assert [p.symbol for p in track] == ["t", "a", "n", "", "o"]
    assert track[0].end == track[1].start == pytest.approx(0.22 - LABEL_LEAD)
    assert track[1].end == track[2].start == pytest.approx(0.45 - LABEL_LEAD)


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("A", "eɪ"),
        ("I", "aɪ"),
        ("O", "oʊ"),
        ("W", "aʊ"),
        ("Y", "ɔɪ"),
        ("aɪ", "aɪ"),
        ("ˈɑː", "ɑ"),
        ("tʃ", "ʧ"),
        ("pʰ", "p"),
        ("ã", "a"),
        ("☃", ""),
        ("ж", "ə"),
        ("S", "ə"),
        ("?", ""),
        ("…", ""),
    ],
)
def test_symbols(symbol: str, expected: str) -> None:
    assert "".join(p.symbol for p in phones((PhonemeMark(symbol, 0.1, 0.4),))) == expected


def test_every_target_is_a_mouth() -> None:
    for target in TARGETS.values():
        assert 0 <= target.opening <= 1
        assert -1 <= target.width <= 1
        assert 0 <= target.rounding <= 1
        assert 0 <= target.teeth <= 1
        assert target.pull > 0


def test_vowels_differ() -> None:
    def middle(symbol: str) -> MouthShape:
        mouth = said((PhonemeMark(symbol, 0.2, 0.33),))[5]
        assert mouth is not None
        return mouth

    assert middle("a").opening > middle("ɛ").opening > middle("u").opening
    assert middle("u").rounding > 0.7
    assert middle("i").width > 0.3
    assert middle("f").opening < 0.1
    assert middle("f").teeth > 0.7


def test_lips_move_without_jitter() -> None:
    mouths = said(marks("lovali fatena so dile wanu ", step=0.09), 4.5)
    opened = openings(mouths)
    assert np.abs(np.diff(opened, 2)).max() < 0.6
    turns = np.sum(np.diff(np.sign(np.diff(opened))) != 0)
    assert turns < 2 * len("lovalifatenasodilewanu")


def test_rest_before_between_and_after() -> None:
    mouths = said((PhonemeMark("a", 0.6, 0.8), PhonemeMark("", 0.8, 1.0), PhonemeMark("a", 1.0, 1.2)), 3.0)
    assert mouths[:9] == [None] * 9
    assert all(m is not None for m in mouths[13:28])
    between = mouths[int((0.9 - LABEL_LEAD) * 25)]
    assert between is not None
    assert between.opening < 0.25
    assert mouths[33] == CLOSED
    assert mouths[45:] == [None] * 30


def test_times_that_are_no_times_are_left_out() -> None:
    nan = float("nan")
    odd = (PhonemeMark("a", nan, 1.0), PhonemeMark("a", 1.0, 0.5), PhonemeMark("a", 0.0, float("inf")))
    assert said(odd) == [None] * 75


def test_marks_may_overlap() -> None:
    mouths = said((PhonemeMark("a", 0.2, 0.6), PhonemeMark("b", 0.4, 0.5), PhonemeMark("i", 0.55, 0.9)))
    assert any(m is not None and m.opening > 0.4 for m in mouths)


def test_a_long_utterance_forgets_what_is_past() -> None:
    track = PhonemeTrack()
    for second in range(100):
        track.add(marks("tatatatatata", start=second), done=float(second))
        for frame in range(second * 25, second * 25 + 25):
            track.shape(frame)
    assert len(track._marks) < 60


def test_loud_syllables_open_wider() -> None:
    said_twice = tuple(PhonemeMark(s, t, t + 0.15) for t, s in ((0.2, "n"), (0.35, "a"), (0.8, "n"), (0.95, "a")))
    loud, soft = babble(0.6), babble(0.6, peak=0.02)
    sound = np.concatenate((silence(0.2), loud, soft, silence(0.5)))
    opened = openings(analyse(SpeechChunk(sound, phonemes=said_twice)))
    assert opened[5:11].max() > 1.1 * opened[20:26].max() > 0.3


def test_every_b_m_p_of_the_built_in_voice_closes_the_lips() -> None:
    model = HibariModel("heart")
    text = "Peter Piper picked a big map, and my mom bought a blue lamp from Bob's shop."
    for piece in model.plan(text):
        speech = model.render(piece)
        mouths = analyse(speech)
        lips = [p for p in phones(speech.phonemes or ()) if p.symbol in ("p", "b", "m")]
        assert len(lips) == sum(piece.symbols.count(c) for c in "pbm")
        for phone in lips:
            span = mouths[max(0, int(phone.start * 25)) : int(phone.end * 25) + 1]
            assert any(m is not None and m.opening == 0 and m.closure == 1 for m in span), phone
        assert np.median([m.opening for m in mouths if m is not None and m.closure == 0]) > 0.15
