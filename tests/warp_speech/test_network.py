"""The network's weights as they are shipped, and what it makes of a voice; the training's own small parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.train_mouth import texts
from pipeline.lipsync.warp import speech_net
from pipeline.lipsync.warp.speech_features import BANDS, FLOOR, Ear, Level, Mels, Resampler
from pipeline.lipsync.warp.speech_net import AHEAD, OUTPUTS, MouthNet
from pipeline.media import SAMPLES_PER_FRAME, SpeechChunk
from pipeline.voices.hibari_model import HibariModel
from tests.warp_speech.sounds import analyse, babble, openings, silence


def test_shipped_weights_are_small_and_whole() -> None:
    assert speech_net.WEIGHTS.stat().st_size < 150_000
    out = MouthNet().step(np.full((AHEAD[1] - AHEAD[0], BANDS), FLOOR, np.float32))
    assert out.shape == (len(OUTPUTS),)
    assert np.isfinite(out).all()


def test_weights_of_another_shape_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(speech_net.WEIGHTS) as file:
        values = dict(file)
    values["leave"] = values["leave"][:-1]
    np.savez(tmp_path / "other.npz", **values)
    monkeypatch.setattr(speech_net, "WEIGHTS", tmp_path / "other.npz")
    speech_net.weights.cache_clear()
    try:
        with pytest.raises(ValueError, match="leave"):
            speech_net.weights()
    finally:
        speech_net.weights.cache_clear()


def test_sound_alone_finds_what_the_phonemes_tell() -> None:
    """The same sentence twice: by its phonemes, and by its sound alone."""
    model = HibariModel("heart")
    fits = []
    for text in (
        "We all watched the map of Europe on Monday morning.",
        "Nobody has ever seen such a big yellow house.",
    ):
        for piece in model.plan(text):
            speech = model.render(piece)
            told, heard = openings(analyse(speech)), openings(analyse(SpeechChunk(speech.pcm)))
            lags = [np.corrcoef(told[3 + d : len(told) - 3 + d], heard[3:-3])[0, 1] for d in range(-3, 4)]
            assert abs(int(np.argmax(lags)) - 3) <= 1
            fits.append(max(lags))
    assert np.mean(fits) > 0.6


def test_mels_do_not_depend_on_the_cut() -> None:
    sound = Resampler()(babble(0.5))
    mels = Mels()
    pieces = [mels(p) for p in np.split(sound, [1, 400, 401, 3000])]
    np.testing.assert_allclose(np.concatenate(pieces), Mels()(sound), atol=1e-5)


def test_level_takes_the_loudness_away_and_outlives_a_bang() -> None:
    quiet, loud = (Mels()(Resampler()(babble(2.0, peak=peak))) for peak in (0.02, 0.6))
    assert abs(np.median(Level()(quiet)[50:].max(axis=1)) - np.median(Level()(loud)[50:].max(axis=1))) < 1.0
    level = Level()
    level(np.full((30, BANDS), 5.0, np.float32))
    after = level(np.tile(quiet, (8, 1)))
    assert after[-len(quiet) :].max() > -2.0


def test_the_ear_gives_four_rows_a_frame() -> None:
    ear = Ear()
    for start in range(0, 5 * SAMPLES_PER_FRAME, SAMPLES_PER_FRAME):
        heard = ear(np.concatenate((silence(0.1), babble(0.4)))[start : start + SAMPLES_PER_FRAME])
        assert heard.rows.shape == (4, BANDS)
        assert heard.loudness.shape == (4,)


def test_training_sentences_are_the_same_for_a_seed() -> None:
    assert texts.english(3, 50) == texts.english(3, 50)
    assert texts.english(3, 50) != texts.english(4, 50)
