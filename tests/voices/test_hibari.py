"""The built-in voice: words and phonemes lie on the sound, nothing it is given crashes it, stopping stops."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hibari.voices import voice_path
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.media import SAMPLE_RATE, Pcm, PhonemeMark, SpeechChunk, WordMark
from pipeline.voices.chunks import CHUNK
from pipeline.voices.hibari import HibariVoice
from pipeline.voices.hibari_model import HibariModel, Piece, with_durations
from pipeline.voices.voice import VoiceError


@pytest.fixture
async def voice(model: HibariModel) -> AsyncIterator[HibariVoice]:
    made = HibariVoice()
    made._model = model  # loaded once for all tests
    yield made
    await made.close()


async def heard(voice: HibariVoice, sentence: str) -> tuple[Pcm, list[WordMark], list[PhonemeMark], list[SpeechChunk]]:
    async with asyncio.timeout(60):
        chunks = [chunk async for chunk in voice.speak(sentence)]
    pcm = np.concatenate([np.zeros(0, np.int16), *(chunk.pcm for chunk in chunks)])
    words = [word for chunk in chunks for word in chunk.words]
    phonemes = [mark for chunk in chunks for mark in chunk.phonemes or ()]
    return pcm, words, phonemes, chunks


async def test_words_as_written_lie_on_their_sound(voice: HibariVoice) -> None:
    text = "On the 3rd of March, 1,250 people paid $9.99 at 7:30 pm — well-known (yes), Dr. Smith!"
    pcm, words, phonemes, chunks = await heard(voice, text)
    assert " ".join(word.text for word in words) == text
    assert "1,250" in [word.text for word in words]
    seconds = len(pcm) / SAMPLE_RATE
    for word, following in itertools.pairwise([*words, WordMark("", seconds, seconds)]):
        assert 0 <= word.start < word.end <= following.start + 1e-9
    for mark, after in itertools.pairwise(phonemes):
        assert mark.start < mark.end <= after.start + 1e-9
    assert phonemes[-1].end <= seconds + 1e-9
    number = next(word for word in words if word.text == "1,250")
    inside = "".join(mark.symbol for mark in phonemes if number.start <= mark.start < number.end)
    assert inside == "wˈʌn θˈWzᵊnd tˈu hˈʌndɹəd fˈɪfti"
    loud = [np.abs(pcm[int(w.start * SAMPLE_RATE) : int(w.end * SAMPLE_RATE)].astype(int)).max() for w in words]
    assert min(loud) > 1000
    assert all(len(chunk.pcm) <= CHUNK and chunk.phonemes is not None for chunk in chunks)


async def test_the_sound_begins_at_once_and_ends_with_the_word(voice: HibariVoice) -> None:
    pcm, words, _, _ = await heard(voice, "Hello, how are you today?")
    loud = np.flatnonzero(np.abs(pcm.astype(int)) > 300)
    assert loud[0] < 0.06 * SAMPLE_RATE  # hibari itself begins with 0.3 s of silence
    assert len(pcm) - loud[-1] < 0.08 * SAMPLE_RATE
    assert words[0].start < 0.1
    assert pcm[0] == 0
    assert abs(int(pcm[-1])) < 30


async def test_durations_are_those_of_the_model(model: HibariModel) -> None:
    (piece,) = model.plan("Bob has a map.")
    chunk = model.render(piece)
    assert chunk.phonemes is not None
    units = [(mark.end - mark.start) / 0.025 for mark in chunk.phonemes[1:-3]]
    assert np.allclose(units, np.round(units), atol=1e-6)
    assert "".join(mark.symbol for mark in chunk.phonemes).startswith("bˈɑb hæz ɐ mˈæp")


def test_the_installed_model_is_not_touched() -> None:
    path = Path(voice_path("heart"))
    before = path.read_bytes()
    assert with_durations(before)[: len(before)] == before
    HibariModel("heart")
    assert path.read_bytes() == before


async def test_full_band_without_images(voice: HibariVoice) -> None:
    pcm, _, _, _ = await heard(voice, "She sells sea shells by the sea shore.")
    spectrum = np.abs(np.fft.rfft(pcm.astype(float))) ** 2
    hertz = np.fft.rfftfreq(len(pcm), 1 / SAMPLE_RATE)
    band = spectrum[(hertz > 9000) & (hertz < 11500)].mean()
    image = spectrum[hertz > 12600].mean()
    assert band > 1e4 * image


async def test_long_sentences_come_in_parts(voice: HibariVoice, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "We look at the leaf, which is green, and then at the root, which is not, " * 4 + "and that is all."
    sizes: list[int] = []
    render = HibariModel.render

    def counted(self: HibariModel, piece: object) -> SpeechChunk:
        chunk = render(self, piece)  # type: ignore[arg-type]
        sizes.append(len(chunk.pcm))
        return chunk

    monkeypatch.setattr(HibariModel, "render", counted)
    pcm, words, _, _ = await heard(voice, text)
    assert " ".join(word.text for word in words) == text
    assert len(sizes) > 2
    assert sizes[0] < 8 * SAMPLE_RATE
    assert all(a.end <= b.start for a, b in itertools.pairwise(words))
    assert words[-1].end <= len(pcm) / SAMPLE_RATE


async def test_stopping_early_leaves_the_voice_ready(voice: HibariVoice) -> None:
    stream = voice.speak("This is a first sentence that nobody hears to its end.")
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    pcm, _, _, _ = await heard(voice, "Next.")
    assert len(pcm) > 0


async def test_the_event_loop_stays_free_while_it_speaks(voice: HibariVoice) -> None:
    """The work is done on a thread: the loop turns while a piece is made."""
    turns = 0
    task = asyncio.create_task(heard(voice, "The loop keeps turning while this rather long sentence is made."))
    while not task.done():
        turns += 1
        await asyncio.sleep(0)
    assert len((await task)[0])
    assert turns > 100


NASTY = [
    "", " ", "...", "?!", "—", "\x00", "\x00\x01\x02", "a\x00b", "😀😀", "👩\u200d👩\u200d👧", "你好世界", "Привет",
    "a" * 10_000, "1" * 5000, "9" * 40 + "." + "9" * 40, "1e400", "-0", "½ ² ³ ٣ ৩", "$", "$$$", "€5", "USD",
    "http://x.com/?a=b&c", "[x](/y/)", "[](//)", "](", "13/13/2024 24:61:99", "00:00", "32/99", "Mr.", "IV",
    "Chapter IV", "MMMMMMCM", "é", "ﬁ", "Ｈｉ", "ℌello", "'", "''", "'s", "_", "__", "a_b", "-", "--", "\u0301",
    "e\u0301\u0301", "\ud800", "\U0010ffff", "ʼn", "x" + "\u0300" * 200, "0x1F", "3D", "1st 2nd 3rd 4th", "A.B.C.",
    "C++", "#1", "10%", "±5°C", "1/2/3/4", "2024-02-30", "1,2,3,,4", ",5", "5,", "the the the " * 200,
    "Zyxwvut qwrtplk", "ŁÓDŹ", "ạệ", "ffi", "\n\n", "\t", "\u2028", "\u200b", "100000000000000000000",
]  # fmt: skip


def planned(model: HibariModel, text: str) -> list[Piece]:
    """The pieces; none when the voice says that it cannot say it, which is no crash."""
    try:
        return model.plan(text)
    except VoiceError as error:
        if error.code != "cannot_say":
            raise
        return []


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_nothing_crashes_it(model: HibariModel, text: str) -> None:
    for piece in planned(model, text)[:2]:
        chunk = model.render(piece)
        assert len(chunk.pcm)
        assert all(0 <= word.start < word.end <= len(chunk.pcm) / SAMPLE_RATE + 1e-6 for word in chunk.words)


_BITS = "12 $3 7:30 St. IV km 5 - & don't A/B 1/2 # Mar"
_WRITTEN = "the cat, 12 $3.50 7:30 pm. isn't well-known — (ok) 5km Dr. & really?! 3/4"


def bits(of: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(of.split()), min_size=1).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=80), st.text(alphabet="aB1 .,'-$/:%[]()é²½·'", max_size=60), bits(_BITS)))
def test_any_text_can_be_planned(model: HibariModel, text: str) -> None:
    for piece in planned(model, text):
        assert piece.symbols.strip()
        for _, start, end in piece.words:
            assert 0 <= start < end <= len(piece.symbols)


@settings(max_examples=100, deadline=None)
@given(bits(_WRITTEN))
def test_every_written_word_is_shown_in_order(model: HibariModel, text: str) -> None:
    shown = " ".join(word for piece in model.plan(text) for word, _, _ in piece.words)
    assert shown == text or not any(c.isalnum() or c == "&" for c in text)


def test_letters_of_other_alphabets_are_read_as_their_plain_ones(model: HibariModel) -> None:
    assert model.plan("İstanbul ạ")[0].symbols == model.plan("Istanbul a")[0].symbols
    assert model.plan("① ⒍")[0].symbols == model.plan("1 6")[0].symbols


def test_a_dash_at_the_end_is_shown_with_the_last_word(model: HibariModel) -> None:
    text = "We look at the leaf, which is green, and then at the root, " * 3 + "which is not, -"
    shown = [word for piece in model.plan(text) for word, _, _ in piece.words]
    assert shown[-1] == "not, -"
    assert " ".join(shown) == text


def test_what_it_can_say() -> None:
    voice = HibariVoice()
    assert voice.can_say("Hello, 3 cafés cost €5 – 20°!")
    for text in ("你好", "Hi 😀", "Привет", "שלום"):
        assert not voice.can_say(text)


def test_a_voice_that_is_not_installed() -> None:
    with pytest.raises(VoiceError) as failure:
        HibariVoice("nobody")
    assert failure.value.code == "unknown_voice"


@pytest.mark.parametrize("run", ["1/", "a.b-", "x"])
def test_a_run_without_a_space_is_read_in_bounded_parts(
    model: HibariModel, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    tokenize = model._g2p.tokenize

    def watched(text: str) -> object:
        seen.append(text)
        return tokenize(text)

    monkeypatch.setattr(model._g2p, "tokenize", watched)
    pieces = model.plan(run * (300 // len(run)))
    assert max(len(part) for text in seen for part in text.split()) <= 60
    assert "".join(word for piece in pieces for word, _, _ in piece.words) == run * (300 // len(run))


REPEATS = """
import re
import numpy as np
from pipeline.voices.hibari_model import HibariModel

def kilobytes():
    return sum(int(n) for n in re.findall(r"^Anonymous: +([0-9]+)", open("/proc/self/smaps").read(), re.M))

def say():
    for ids in sentences:
        model._session.run(None, {"ids": ids, "speed": model._speed})

model = HibariModel("heart")
sentences = [np.ones((1, length), np.int64) for length in (71, 83, 95, 104, 112, 131, 149, 163, 187, 204, 226, 243)]
say()
before = kilobytes()
say()
say()
print(kilobytes() - before)
"""


def test_sentences_of_lengths_that_were_heard_before_take_no_more_memory() -> None:
    # In a process of its own: memory that other tests free would hide the growth.
    done = subprocess.run([sys.executable, "-c", REPEATS], capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) < 3000
