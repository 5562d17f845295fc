"""Speak the sentences, spoil the sound as rooms and microphones do, keep what the network hears and should say.

python -m bench.train_mouth.make_data OUT.npz PIPER.onnx [--seed 1]    (needs espeak-ng and piper-tts; ten minutes)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

from bench.train_mouth import texts
from bench.train_mouth.sources import Espeak, Hibari, Piper, Spoken
from pipeline.lipsync.warp.speech_features import HOP, RATE, Level, Mels
from pipeline.lipsync.warp.speech_phonemes import PhonemeTrack
from pipeline.media import PhonemeMark

F32 = NDArray[np.float32]

STEP = 0.020  # seconds: the network's step
COUNTS = {"hibari": 800, "piper": 400, "espeak": 360}
VARIANTS = (
    "",
    "+f1",
    "+f2",
    "+f3",
    "+f4",
    "+f5",
    "+m1",
    "+m2",
    "+m3",
    "+m4",
    "+m5",
    "+m6",
    "+m7",
    "+klatt2",
    "+klatt4",
)
COPIES = 3  # of every sentence, spoilt differently


def speak(seed: int, piper: Path) -> Iterator[tuple[str, Spoken]]:
    """All sentences by all voices. Formants move with the rate of play; pitch and speed are set apart from it."""
    rng = np.random.default_rng(seed)
    sentences = texts.english(seed, COUNTS["hibari"] + COUNTS["piper"])
    espeak, hibari, second = Espeak(), Hibari(), Piper(piper)
    for i, text in enumerate(sentences):
        formants = rng.uniform(0.78, 1.12)
        speed = rng.uniform(0.8, 1.3) / formants
        if i < COUNTS["hibari"]:
            yield "hibari", _play(hibari.say(text, speed, rng.uniform(0.5, 1.2) / formants, rng), formants)
        else:
            formants = rng.uniform(0.88, 1.25)  # a man's voice: more room upwards
            yield "piper", _play(second.say(text, rng.uniform(0.8, 1.3) / formants, rng.uniform(0.3, 0.8)), formants)
    languages = list(texts.OTHER)
    for i in range(COUNTS["espeak"]):
        language = languages[i % len(languages)]
        lines = texts.OTHER[language]
        text = lines[(i // len(languages)) % len(lines)]
        voice = language + VARIANTS[int(rng.integers(len(VARIANTS)))]
        spoken = espeak.say(text, voice, int(rng.integers(130, 220)), int(rng.integers(15, 85)))
        yield "espeak", _play(spoken, rng.uniform(0.88, 1.12))


def _play(spoken: Spoken, rate: float) -> Spoken:
    """Played faster by `rate`: pitch, formants and speed go up together; then 16 kHz."""
    up = round(1000 * RATE / spoken.rate / rate)
    sound = resample_poly(spoken.sound, up, 1000).astype(np.float32)
    factor = 1000 * RATE / spoken.rate / up  # as it came out
    marks = [PhonemeMark(m.symbol, m.start / factor, m.end / factor) for m in spoken.marks]
    return Spoken(sound / max(0.05, float(np.abs(sound).max())), RATE, marks)


def targets(marks: list[PhonemeMark], steps: int) -> F32:
    """(steps, 5): opening, width, rounding, teeth, closure at the middle of each step."""
    track = PhonemeTrack()
    track.add(marks)
    return np.stack([track.blend((i + 0.5) * STEP) for i in range(steps)]).astype(np.float32)


def spoil(sound: F32, rng: np.random.Generator) -> F32:
    """Reverberation, an equaliser, a narrow band at times, noise 8-60 dB below, a gain; at times clipped."""
    n = len(sound)
    if rng.random() < 0.6:
        length = rng.uniform(0.08, 0.6)
        tail = rng.standard_normal(int(length * RATE)) * 10 ** (-3 * np.arange(int(length * RATE)) / (length * RATE))
        tail *= 10 ** (rng.uniform(-30, -8) / 20) / np.sqrt(np.sum(tail**2) + 1e-9)
        tail[0] = 1.0
        sound = fftconvolve(sound, tail)[:n]
    spectrum = np.fft.rfft(sound)
    frequency = np.arange(len(spectrum)) * RATE / n
    knots = np.cumsum(np.concatenate(([0.0], rng.normal(0, 2.5, 7))))
    curve = np.interp(np.log2(np.maximum(frequency, 60) / 60), np.arange(8), knots - knots.mean())
    sound = np.fft.irfft(spectrum * 10 ** (curve / 20), n)
    if rng.random() < 0.25:
        band = (rng.uniform(80, 300), rng.uniform(3300, 7500))
        sound = sosfilt(butter(4, band, "bandpass", fs=RATE, output="sos"), sound)
    noise = rng.standard_normal(n)
    colour = rng.uniform(0, 1.1)
    noise = np.fft.irfft(np.fft.rfft(noise) / np.maximum(frequency, 40) ** (colour / 2), n)
    if rng.random() < 0.3:  # hum, or something that plays
        tone = np.sin(2 * np.pi * rng.uniform(50, 600) * np.arange(n) / RATE)
        noise = noise / noise.std() + rng.uniform(0.3, 2) * tone
    power = np.sqrt(np.mean(sound**2))
    sound = sound + noise / noise.std() * power * 10 ** (-rng.uniform(8, 60) / 20)
    sound = sound / np.abs(sound).max() * 10 ** (rng.uniform(-34, 0) / 20)
    if rng.random() < 0.1:
        sound = np.clip(sound * 3, -1, 1)
    return np.asarray(np.round(sound * 32767) / 32768, dtype=np.float32)


def sequence(group: list[Spoken], rng: np.random.Generator) -> tuple[F32, F32]:
    """A few sentences with rests between -> the network's input (m, bands) at 10 ms and its targets (m / 2, 5)."""
    sounds: list[F32] = []
    marks: list[PhonemeMark] = []
    offset = 0.0
    for spoken in group:
        rest = np.zeros(int(rng.choice([0.02, 0.3, 0.8, 2.0]) * rng.uniform(0.3, 1) * RATE), np.float32)
        sounds += (rest, spoken.sound * np.float32(rng.uniform(0.5, 1)))
        offset += len(rest) / RATE
        marks += [PhonemeMark(m.symbol, m.start + offset, m.end + offset) for m in spoken.marks]
        offset += len(spoken.sound) / RATE
    sound = np.concatenate([*sounds, np.zeros(RATE // 4, np.float32)])
    sound = sound[: len(sound) // (2 * HOP) * 2 * HOP]
    steps = len(sound) // (2 * HOP)
    heard = Level()(Mels()(np.concatenate((spoil(sound, rng), np.zeros(HOP, np.float32)))))[: 2 * steps]
    return heard, targets(marks, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("piper", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed + 100)
    spoken = [s for _, s in speak(args.seed, args.piper)]
    print(f"{len(spoken)} sentences, {sum(len(s.sound) for s in spoken) / RATE:.0f} s", flush=True)
    inputs, wanted = [], []
    for copy in range(COPIES):
        order = rng.permutation(len(spoken))
        for at in range(0, len(order), 2):
            x, y = sequence([spoken[i] for i in order[at : at + 2]], rng)
            inputs.append(x)
            wanted.append(y)
        print(f"copy {copy + 1} of {COPIES}", flush=True)
    np.savez(
        args.out,
        inputs=np.concatenate(inputs).astype(np.float16),
        wanted=np.concatenate(wanted).astype(np.float16),
        steps=np.array([len(y) for y in wanted]),
    )


if __name__ == "__main__":
    main()
