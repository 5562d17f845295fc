"""What the engine knows of one avatar: pose, resting mouth, colours, teeth; how it is worked out, kept and read."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.signal import savgol_filter

from avatars.avatar import F32, Avatar, planes
from pipeline.lipsync.warp import colour, points, teeth
from pipeline.lipsync.warp.inside import Tones
from pipeline.lipsync.warp.lips import corner_reach, lip_margins
from pipeline.lipsync.warp.picture import picture
from pipeline.lipsync.warp.pose import Pose, fit_pose

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

Locator = Callable[[U8, F32], F32]
"""A BGR picture and a mesh near the face's -> the mesh (468, 3) found there."""

VERSION = 3
FILE = "rig.npz"

_CLOSED_GAP = 0.03
"""A mouth whose inner contours are nearer than this (E) is closed."""


_PLAIN = ("neutral", "own", "override", "margin", "outer", "reach", "gap", "fit", "picture", "correction", "idle_open")
"""Fields of a Rig that are kept as they are."""


class RigError(ValueError):
    """The file is missing, damaged, or of another version."""


@dataclass(frozen=True, slots=True)
class Rig:
    """One avatar's face, ready to be moved. n frames, COUNT control points (see points.USED).

    neutral: (COUNT, 3) canonical control points of the resting, closed mouth.
    own: (n, COUNT, 2) the frame's own control points, pixels.
    override: (n,) 0 where the frame's own mouth rests .. 1 where it talks or smiles openly and is overruled.
    margin: (n, 2, 11) how far beyond an open mouth's inner upper and lower contours lip begins for sure, E.
    outer: (n, 2, 11) where its lips' outer edges are, beyond the mesh's, E.
    reach: (n, 2, 2) from its inner corners to the end of an open mouth's slit, E.
    gap: (n,) the frame's own gap of the lips, E. fit: (n,) 0 where the face is turned away too far .. 1.
    idle_open: the clip shows the same open smile throughout; it rests in it.
    correction: (k, 2) gap asked for -> gap to command, E; rising.
    """

    pose: Pose
    neutral: F64
    own: F32
    override: F64
    margin: F64
    outer: F64
    reach: F64
    gap: F64
    fit: F64
    tones: Tones
    picture: U8
    correction: F64
    idle_open: bool


def inner_gap(canonical: F64) -> F64:
    """(n, COUNT, 3) -> (n,): height of the gap at the middle of the inner lips, mean of the three middle pairs."""
    middle = slice(4, 7)
    return np.asarray((canonical[:, points.IL][:, middle, 1] - canonical[:, points.IU][:, middle, 1]).mean(1))


def _rest(canonical: F64) -> tuple[F64, F64, F64, float, bool]:
    """From (n, COUNT, 3): the resting mouth, each frame's gap and deviation from it, its gap, and whether it had to be
    closed because the clip shows none that is."""
    gap = inner_gap(canonical)
    neutral = np.median(canonical[gap <= np.quantile(gap, 0.2) + 0.002], axis=0)
    rest = float(inner_gap(neutral[None])[0])
    lips = np.r_[points.UPPER, points.LOWER]
    deviation = np.sqrt(((canonical[:, lips, :2] - neutral[lips, :2]) ** 2).sum(-1).mean(-1))
    opened = rest > _CLOSED_GAP
    if opened:
        neutral = _close(neutral, rest)
        rest = float(inner_gap(neutral[None])[0])
    return neutral, gap, np.asarray(deviation), rest, opened


def _close(neutral: F64, gap: float) -> F64:
    """Bring the lips of an open resting shape together: the upper one down, the lower one and the jaw up."""
    out = neutral.copy()
    upper, lower = neutral[points.IU], neutral[points.IL]
    parted = np.maximum(lower[:, 1] - upper[:, 1] - 0.010, 0)
    share = 0.62  # a smile lifts the upper lip more than it lowers the other
    out[points.IU, 1] += share * parted
    out[points.IL, 1] -= (1 - share) * parted
    out[points.OU, 1] += 0.75 * share * parted
    out[points.OL, 1] -= 0.85 * (1 - share) * parted
    rise = (1 - share) * gap
    out[points.CHIN_AT, 1] -= rise * np.array([0.75, 0.45, 0.35])
    out[points.JAW_AT, 1] -= 0.3 * rise * np.array(list(points.JAW.values())) / 0.6
    # A smile relaxes as its lips close: the corners come in and down a little.
    middle = (upper[0, 0] + upper[-1, 0]) / 2
    relax = min(gap / 0.1, 1.0)
    for at in (points.OU, points.IU, points.OL, points.IL):
        out[at, 0] = middle + (out[at, 0] - middle) * (1 - 0.07 * relax)
        out[at, 1] += 0.018 * relax * np.linspace(-1, 1, points.MOUTH) ** 2
    return out


def _tones(avatar: Avatar, frame: int) -> Tones:
    y, u, v = planes(avatar.frames[frame], avatar.width, avatar.height)
    mesh = avatar.faces.landmarks[frame]

    def sample(at: NDArray[np.float32]) -> F64:
        x = np.clip(np.round(at[:, 0]).astype(int), 0, avatar.width - 1)
        r = np.clip(np.round(at[:, 1]).astype(int), 0, avatar.height - 1)
        return np.array([np.median(y[r, x]), np.median(u[r // 2, x // 2]), np.median(v[r // 2, x // 2])], float)

    cheeks = mesh[[205, 425, 50, 280, 187, 411, 101, 330, 207, 427], :2]
    lips = [0.5 * (mesh[list(o), :2] + mesh[list(i), :2]) for o, i in (
        (points.OUTER_UPPER[3:8], points.INNER_UPPER[3:8]), (points.OUTER_LOWER[3:8], points.INNER_LOWER[3:8])
    )]  # fmt: skip
    skin, lip = sample(cheeks), sample(np.concatenate(lips))
    dark = colour.to_bgr(skin) * np.array([0.12, 0.085, 0.21]) + np.array([3.0, 2.0, 6.0])
    tongue = colour.to_bgr(lip) * 0.72
    return Tones(skin, lip, colour.from_bgr(dark), colour.from_bgr(tongue))


def _step(low: float, high: float, x: F64) -> F64:
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _override(gap: F64, rest: float, deviation: F64) -> F64:
    """Where the frame's own mouth must be overruled: it is open, or shaped as no resting mouth is."""
    out = np.maximum(_step(0.015, 0.035, gap - rest), _step(0.035, 0.07, deviation))
    out = gaussian_filter1d(maximum_filter1d(out, 21, mode="nearest"), 2.5, mode="nearest")
    out[out < 0.004] = 0
    return np.asarray(out)


def _sharpened(avatar: Avatar, landmarks: F32, override: F64, locator: Locator) -> F32:
    """The control points' mesh, looked for anew where the mouth moves.

    An avatar's landmarks are smoothed in time for a face at rest; on a talking one that takes up to .06 E off the lips.
    """
    out = landmarks.copy()
    for frame in np.flatnonzero(override > 0):
        out[frame] = locator(picture(avatar, int(frame)), landmarks[frame])
    if len(out) >= 5:
        out = savgol_filter(out, 5, 3, axis=0)
    return np.asarray(landmarks + override[:, None, None] * (out - landmarks), np.float32)


def _filled(landmarks: F32) -> tuple[F32, NDArray[np.bool_]]:
    """The landmarks, where they are no numbers those of the nearest frame with a face; and which frames have one."""
    eyes = landmarks[:, points.RIGHT_EYE, :2] - landmarks[:, points.LEFT_EYE, :2]
    known = np.isfinite(landmarks).all((1, 2)) & (np.hypot(eyes[:, 0], eyes[:, 1]) > 1.0)
    where = np.flatnonzero(known)
    if not len(where):
        raise ValueError("no frame of this avatar has a face")
    nearest = where[np.argmin(np.abs(np.arange(len(landmarks))[:, None] - where[None]), axis=1)]
    return landmarks[nearest], np.asarray(known)


def build(avatar: Avatar, locator: Locator | None = None) -> Rig:
    """Work it out from the avatar's landmarks and frames."""
    landmarks, known = _filled(avatar.faces.landmarks)
    pose = fit_pose(landmarks)
    used = list(points.USED)
    neutral, gap, deviation, rest, open_rest = _rest(pose.canonical(landmarks.astype(np.float64))[:, used])
    override = _override(gap, rest, deviation)
    if locator is not None and override.any():
        landmarks = _sharpened(avatar, landmarks, override, locator)
        neutral, gap, deviation, rest, open_rest = _rest(pose.canonical(landmarks.astype(np.float64))[:, used])
        override = _override(gap, rest, deviation)
    own = landmarks[:, used, :2].copy()
    idle_open = bool(open_rest and float(np.quantile(gap, 0.95) - np.quantile(gap, 0.05)) < 0.03)
    turned = pose.axes[:, 2, 2]  # cosine between the face's direction and the camera's
    fit = gaussian_filter1d(_step(0.42, 0.62, turned), 2.5, mode="nearest") * known
    frame = int(np.argmin(gap + 10 * (fit < 0.9) + 0.05 * (1 - turned)))
    tones = _tones(avatar, frame)
    picture = _teeth(avatar, pose, neutral, own.astype(np.float64), gap, fit, tones)
    closed = (
        np.flatnonzero((gap < rest + 0.012) & (deviation < 0.05) & (fit > 0.8)) if not open_rest else np.array([], int)
    )
    closed = closed[np.argsort(deviation[closed])[:5]]
    margin, outer = lip_margins(avatar, own.astype(np.float64), pose.scale, pose.axes, override, tones.lip, closed)
    reach = corner_reach(avatar, own.astype(np.float64), pose.scale, pose.axes, override, tones.lip)
    straight = np.array([[0.0, 0.0], [1.0, 1.0]])
    return Rig(pose, neutral, own, override, margin, outer, reach, gap, fit, tones, picture, straight, idle_open)


_TEETH_SCORE = 0.75
"""From here on a frame's own teeth look better than drawn ones."""

_TEETH_LOOKS = 40


def _teeth(avatar: Avatar, pose: Pose, neutral: F64, own: F64, gap: F64, fit: F64, tones: Tones) -> U8:
    """The clip's own teeth where it clearly shows them, else drawn ones."""
    facing = pose.axes[:, 2, 2]
    frames = np.flatnonzero((gap > 0.035) & (fit > 0.95) & (facing > 0.85))
    frames = frames[np.argsort(-gap[frames])][:: max(1, len(frames) // _TEETH_LOOKS)]
    centre, bend = mouth_centre(neutral), teeth_bend(neutral)
    best, score = teeth.drawn(tones.skin, lip_line(neutral), mouth_size(neutral)), _TEETH_SCORE
    for frame in frames:
        flat = pose.scale[frame] * pose.axes[frame][:2]
        middle = flat @ centre + pose.origin[frame][:2]
        view = teeth.View(int(frame), flat, middle, own[frame][points.IU], own[frame][points.IL], bend)
        found, quality = teeth.captured(avatar, view, tones.skin, tones.lip)
        if quality > score:
            best, score = found, quality
    return best


def mouth_centre(neutral: F64) -> F64:
    """Middle of the resting inner lips, canonical (3,)."""
    return np.asarray((neutral[points.IU][5] + neutral[points.IL][5]) / 2)


def teeth_bend(neutral: F64) -> float:
    """How fast the row of teeth recedes from the middle, as the lips do: z = bend x², E."""
    line = (neutral[points.IU] + neutral[points.IL]) / 2 - mouth_centre(neutral)
    return float(np.clip(np.polyfit(line[:, 0] ** 2, line[:, 2], 1)[0], 0.0, 3.0))


def teeth_arch(neutral: F64) -> F64:
    """(15, 3): the line along which the upper teeth stand, relative to the mouth's centre, canonical: x, 0, z.

    It bends away from the camera as the lips do, .02 behind them.
    """
    bend = teeth_bend(neutral)
    x = np.linspace(-0.42, 0.42, 15)
    return np.stack([x, np.zeros_like(x), 0.02 + bend * x * x], axis=-1)


def lip_line(neutral: F64) -> tuple[float, float]:
    """a, b of the resting lip line y = a + b x² around the mouth's centre."""
    line = (neutral[points.IU] + neutral[points.IL]) / 2 - mouth_centre(neutral)
    b, a = np.polyfit(line[:, 0] ** 2, line[:, 1], 1)
    return float(a), float(np.clip(b, -1.5, 1.5))


def mouth_size(neutral: F64) -> float:
    """Width of the resting mouth against the .56 E of an adult's, for the size of teeth; .8 .. 1.2."""
    inner = neutral[points.IU]
    return float(np.clip((inner[-1, 0] - inner[0, 0]) / 0.50, 0.8, 1.15))


def save(rig: Rig, folder: Path) -> None:
    """Write the rig whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{FILE}.{os.getpid()}.{threading.get_ident()}.part"
    try:
        with part.open("wb") as file:
            np.savez(
                file,
                version=VERSION,
                scale=rig.pose.scale,
                axes=rig.pose.axes,
                origin=rig.pose.origin,
                tones=np.stack([rig.tones.skin, rig.tones.lip, rig.tones.dark, rig.tones.tongue]),
                **{name: getattr(rig, name) for name in _PLAIN},
            )
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / FILE)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def load(folder: Path, count: int) -> Rig:
    """Read the rig of an avatar of `count` frames. Raises RigError where it must be prepared anew."""
    try:
        with np.load(folder / FILE, allow_pickle=False) as data:
            if int(data["version"]) != VERSION:
                raise RigError(f"{folder / FILE}: version {int(data['version'])}, this engine writes {VERSION}")
            rig = Rig(
                pose=Pose(data["scale"], data["axes"], data["origin"]),
                tones=Tones(*data["tones"]),
                **{name: data[name] for name in _PLAIN},
            )
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, RigError):
            raise
        raise RigError(f"{folder / FILE}: {error}") from error
    shapes_fit = rig.pose.axes.shape == (count, 3, 3) and rig.pose.scale.shape == rig.override.shape == (count,)
    if not shapes_fit or rig.neutral.shape != (points.COUNT, 3) or rig.picture.shape[:2] != (teeth.HEIGHT, teeth.WIDTH):
        raise RigError(f"{folder / FILE}: does not fit this avatar")
    return rig
