"""Sound against picture in a recording made inside Chromium: lip gap of the frames against the speech band's energy."""

from __future__ import annotations

import base64
import io

import av
import cv2
import numpy as np
from scipy.signal import butter, sosfilt

from avatars.landmarks import FaceTracker
from avatars.models import find
from bench.browser import Browser
from bench.figures import Figure
from bench.serving import ROOT, WORK, Server

FPS = 50  # the grid on which both are compared
SECONDS = 40.0


def in_browser(server: Server, browser: Browser, avatar_id: str) -> list[Figure]:
    """Record a speaking session in Chromium and measure the offset and the correlation."""
    session = server.session(avatar_id)
    browser.join(session, "sync")
    server.talk(session, 1.5)
    data = base64.b64decode(browser.record("sync", SECONDS))
    browser.leave("sync")
    server.call("DELETE", f"/v1/sessions/{session.id}")
    (WORK / "sync.webm").write_bytes(data)
    times, gaps = lip_gaps(data)
    offset, correlation = compare(times, gaps, *speech(data))
    return [
        Figure("sound against picture, recorded in Chromium", "±45 ms", f"{offset:+.0f} ms", abs(offset) <= 45,
               "positive: the picture is late"),
        Figure("correlation of lip gap and speech band", "≥ 0.5", f"{correlation:.2f}", correlation >= 0.5,
               f"{SECONDS:.0f} s, {len(times)} frames"),
    ]  # fmt: skip


def lip_gaps(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Times (s) and inner-lip gap over eye distance of each frame, by landmarks found anew in the decoded pictures."""
    tracker = FaceTracker(find(ROOT / "models" / "faces"))
    times, gaps = [], []
    previous = None
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(video=0):
            image = frame.to_ndarray(format="bgr24")
            if previous is None:
                faces = tracker.detect(image)
                if not faces:
                    continue
                previous = faces[0]
            points, _ = tracker.landmarks(image, previous)
            previous = points
            eyes = np.linalg.norm(points[33, :2] - points[263, :2])
            inner = [(13, 14), (82, 87), (312, 317)]
            gaps.append(float(np.mean([np.linalg.norm(points[a, :2] - points[b, :2]) for a, b in inner]) / eyes))
            times.append(float(frame.time))
    return np.array(times), np.array(gaps)


def speech(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Times (s) of the samples and the sound at 16 kHz, placed by its own timestamps."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=16000)
    pieces, start = [], None
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(audio=0):
            start = float(frame.time) if start is None else start
            pieces += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    sound = np.concatenate(pieces)
    return (start or 0.0) + np.arange(len(sound)) / 16000, sound


def compare(times: np.ndarray, gaps: np.ndarray, instants: np.ndarray, sound: np.ndarray) -> tuple[float, float]:
    """Offset in ms (positive: the picture is late) and correlation at it, within ±400 ms."""
    band = sosfilt(butter(4, [300, 3500], "bandpass", fs=16000, output="sos"), sound)
    begin, end = max(times[0], instants[0]) + 1.0, min(times[-1], instants[-1]) - 1.0
    grid = np.arange(begin, end, 1 / FPS)
    half = 320  # 40 ms windows
    power = np.convolve(band**2, np.ones(2 * half) / (2 * half), "same")
    energy = np.log(np.interp(grid, instants, power) + 1e-7)
    lags = np.arange(-0.4, 0.4001, 0.01)
    scores = [_correlation(np.interp(grid + lag, times, gaps), energy) for lag in lags]
    best = int(np.argmax(scores))
    return float(lags[best] * 1000), float(scores[best])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(_detrended(a), _detrended(b))[0, 1])


def _detrended(values: np.ndarray) -> np.ndarray:
    """Minus its running mean over 1 s."""
    width = FPS | 1
    return np.asarray(values - cv2.blur(values.reshape(-1, 1), (1, width), borderType=cv2.BORDER_REFLECT).ravel())
