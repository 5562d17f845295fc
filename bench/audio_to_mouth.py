"""How well mouths follow speech: predicted openings against real speakers' own lips, and closures with known phonemes.

python -m bench.audio_to_mouth [--plot FOLDER]    (the clips lie in ../shared/media)
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, sosfiltfilt

from avatars import models
from avatars.avatar import F32, FPS, U8
from avatars.landmarks import LEFT_EYE, RIGHT_EYE, Detection, FaceTracker
from bench.figures import Figure
from pipeline.lipsync.warp.speech_analyser import WarpAnalyser
from pipeline.lipsync.warp.speech_phonemes import phones
from pipeline.media import SAMPLE_RATE, SAMPLES_PER_FRAME, MouthShape, Pcm, SpeechChunk

F64 = NDArray[np.float64]

INNER_UPPER, INNER_LOWER = 13, 14
LAGS = range(-5, 6)
CLIPS = {
    "speaker-synced-224x224-offset3.avi": 3,
    "speaker-synced-524x524.mp4": 1,
    "speaker-synced-700x700.mp4": 1,
}
"""Real speakers, and how many frames their picture runs behind their sound (media/README.md)."""
PLAIN = (300.0, 3500.0)
WINDOW = 4 * FPS
MARGIN = 0.15
"""What the prediction must be better by than the plain band's energy, in mean correlation."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Correlation of two curves at their best lag (frames by which the second runs behind), and in each 4-s window."""

    r: float
    lag: int
    windows: tuple[float, ...]


def read_clip(path: Path) -> tuple[F64, Pcm]:
    """(frames,) inner-lip gap over the distance of the outer eye corners at 25 fps, and the sound at 48 kHz.

    Times count from the first picture and the first sample.
    """
    tracker = FaceTracker(models.find())
    times: list[float] = []
    gaps: list[float] = []
    before: Detection | F32 | None = None
    with av.open(str(path)) as file:
        for picture in file.decode(video=0):
            bgr = np.asarray(picture.to_ndarray(format="bgr24"), dtype=np.uint8)
            if before is None:
                before = tracker.detect(bgr)[0]
            mesh, sure = tracker.landmarks(bgr, before)
            before = mesh if sure >= 0.5 else None
            eyes = np.linalg.norm(mesh[RIGHT_EYE, :2] - mesh[LEFT_EYE, :2])
            gaps.append(float(np.linalg.norm(mesh[INNER_UPPER, :2] - mesh[INNER_LOWER, :2]) / eyes))
            times.append(picture.time)
    sound = []
    with av.open(str(path)) as file:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        for piece in file.decode(audio=0):
            sound += [p.to_ndarray().ravel() for p in resampler.resample(piece)]
        sound += [p.to_ndarray().ravel() for p in resampler.resample(None)]
    since = np.array(times) - times[0]
    grid = np.arange(int(since[-1] * FPS) + 1) / FPS
    return np.interp(grid, since, gaps), np.concatenate(sound)


def plain_energy(pcm: Pcm) -> F64:
    """Log energy of the 300-3500 Hz band in each frame: the yardstick."""
    band = sosfiltfilt(butter(4, PLAIN, "bandpass", fs=SAMPLE_RATE, output="sos"), pcm / 32768)
    frames = len(band) // SAMPLES_PER_FRAME
    power = np.mean(band[: frames * SAMPLES_PER_FRAME].reshape(frames, SAMPLES_PER_FRAME) ** 2, axis=1)
    return np.asarray(np.log(power + 1e-6))


def mouths(pcm: Pcm) -> list[MouthShape | None]:
    """What the analyser makes of a sound that comes in tenths of a second."""
    analyser, out = WarpAnalyser(), []
    for at in range(0, len(pcm), 4800):
        out += analyser.feed(SpeechChunk(pcm[at : at + 4800]))
    return out + analyser.finish()


def openings(shapes: Sequence[MouthShape | None]) -> F64:
    return np.array([0.0 if m is None else m.opening for m in shapes])


def fit(predicted: F64, real: F64) -> Fit:
    """Both detrended over 1 s, best lag within ±5 frames."""
    count = min(len(predicted), len(real))
    p, r = (x[:count] - uniform_filter1d(x[:count], FPS, mode="nearest") for x in (predicted, real))

    def at(lag: int, first: int = 0, last: int = count) -> float:
        a, b = max(first, first - lag), min(last, last - lag)
        return float(np.corrcoef(p[a:b], r[a + lag : b + lag])[0, 1])

    lag = max(LAGS, key=at)
    starts = range(0, max(1, count - WINDOW + 1), WINDOW // 2)
    return Fit(at(lag), lag, tuple(at(lag, s, min(s + WINDOW, count)) for s in starts))


def on_clips(media: Path, plots: Path | None = None) -> list[tuple[str, Fit, Fit, float]]:
    """Of each clip: its name, the plain band's fit, ours, and our milliseconds of CPU a frame."""
    out = []
    for name in CLIPS:
        gap, pcm = read_clip(media / name)
        costs = []
        for _ in range(3):  # the first run loads the models
            started = time.thread_time()
            shapes = mouths(pcm)
            costs.append((time.thread_time() - started) / len(shapes) * 1000)
        cost = min(costs)
        ours = fit(openings(shapes), gap)
        out.append((name, fit(plain_energy(pcm), gap), ours, cost))
        if plots is not None:
            cv2.imwrite(str(plots / f"{Path(name).stem}.png"), picture(pcm, shapes, gap, CLIPS[name]))
    return out


def picture(pcm: Pcm, shapes: Sequence[MouthShape | None], gap: F64 | None, lag: int, seconds: float = 6.5) -> U8:
    """A spectrogram, the predicted opening (green; red: closure) and the real lips (white, moved by their lag)."""
    width, high, low = 1600, 260, 260
    count = min(len(pcm), int(seconds * SAMPLE_RATE))
    sound = pcm[:count] / 32768
    hop = count / width
    rows = []
    for x in range(width):
        at = int(x * hop)
        piece = sound[at : at + 1200]
        rows.append(np.log(np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 2400))[:400] + 1e-3))
    spectrum = np.array(rows).T[::-1]
    grey = np.clip((spectrum - spectrum.min()) / (np.ptp(spectrum) + 1e-9) * 255, 0, 255).astype(np.uint8)
    image = np.zeros((high + low, width, 3), np.uint8)
    image[:high] = cv2.resize(grey, (width, high))[:, :, None]

    def line(values: F64, shift: float, colour: tuple[int, int, int]) -> None:
        points = [
            (int((k + 0.5 - shift) * SAMPLES_PER_FRAME / hop), int(high + low - 6 - v * (low - 12)))
            for k, v in enumerate(values)
        ]
        for a, b in itertools.pairwise(points):
            cv2.line(image, a, b, colour, 1, cv2.LINE_AA)

    line(np.array([0.0 if m is None else m.closure for m in shapes]), 0, (60, 60, 220))
    line(openings(shapes), 0, (80, 230, 80))
    if gap is not None:
        line(gap / 0.165, lag, (255, 255, 255))
    return image


def figures(shared: Path) -> Iterator[Figure]:
    """For the benchmark's table. shared: the folder that holds media/."""
    fits = on_clips(shared / "media")
    plain = float(np.mean([p.r for _, p, _, _ in fits]))
    ours = float(np.mean([o.r for _, _, o, _ in fits]))
    yield Figure(
        "sound → mouth: mean correlation with real lips",
        f"≥ {plain + MARGIN:.2f} (plain band {plain:.2f} + {MARGIN})",
        f"{ours:.2f}",
        ours >= plain + MARGIN,
        "; ".join(f"{o.r:.2f} (plain {p.r:.2f})" for _, p, o, _ in fits),
    )
    lags = [(o.lag, CLIPS[name]) for name, _, o, _ in fits]
    yield Figure(
        "sound → mouth: lag on each clip",
        "within 1 frame of " + ", ".join(str(k) for k in CLIPS.values()),
        ", ".join(str(a) for a, _ in lags),
        all(abs(a - b) <= 1 for a, b in lags),
        "frames; best within ±5",
    )
    cost = max(c for *_, c in fits)
    yield Figure(
        "sound → mouth: CPU a frame", "≤ 0.5 ms", f"{cost:.2f} ms", cost <= 0.5, "one thread, voice detector included"
    )
    closed, total = closures()
    yield Figure(
        "phonemes → mouth: b, m, p that close the lips", "all", f"{closed} of {total}", closed == total, "30 sentences"
    )


def closures(sentences: int = 30) -> tuple[int, int]:
    """Sentences said by the built-in voice, its own phoneme times: how many b, m, p close the lips, of how many."""
    from bench.train_mouth import texts
    from pipeline.voices.hibari_model import HibariModel

    voice = HibariModel("heart")
    closed = total = 0
    for text in texts.english(7, sentences):
        for piece in voice.plan(text):
            said = voice.render(piece)
            analyser = WarpAnalyser()
            shapes = analyser.feed(said) + analyser.finish()
            total += sum(piece.symbols.count(symbol) for symbol in "bmp")
            for phone in phones(said.phonemes or ()):
                if phone.symbol in ("b", "m", "p"):
                    span = shapes[max(0, int(phone.start * FPS)) : int(phone.end * FPS) + 1]
                    closed += any(m is not None and m.opening == 0.0 and m.closure == 1.0 for m in span)
    return closed, total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    root = Path(__file__).resolve().parents[1]
    shared = Path(os.environ.get("LECTERN_SHARED", root.parent / "shared"))
    rows = on_clips(shared / "media", args.plot)
    for name, plain, ours, cost in rows:
        windows = " ".join(f"{w:.2f}" for w in ours.windows)
        print(
            f"{name}: plain {plain.r:.3f} at {plain.lag}, ours {ours.r:.3f} at {ours.lag} (4-s windows {windows}), "
            f"{cost:.2f} ms a frame"
        )
    print(f"mean: plain {np.mean([r[1].r for r in rows]):.3f}, ours {np.mean([r[2].r for r in rows]):.3f}")
    print("closures: {} of {}".format(*closures()))


if __name__ == "__main__":
    main()
