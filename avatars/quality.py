"""Looks at a tracked clip and says what stands against it, in stable codes and sentences for a teacher."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from avatars.avatar import F32, FPS, U8
from avatars.errors import MESSAGES
from avatars.landmarks import LEFT_EYE, RIGHT_EYE
from avatars.record import Finding, QualityReport, Severity, SourceFacts
from avatars.tracking import LIPS, eye_distance

# Pixels of E. The smallest face of the clips tried has 85 (a 224x224 video); lips are then 50 pixels wide.
_TINY, _SMALL = 32.0, 60.0
# Luma (video range, 16..235) of the face's brighter part (75th percentile): dark skin in good light has 60 or more.
_DARK, _DIM, _GLARE = 34.0, 52.0, 228.0
_YAW, _PITCH = 35.0, 30.0  # degrees
_ROLL = 60.0  # degrees: heads tilt by 30, phones turn a picture by 90
_WANDER = 1.6  # E, span of the nose
_SPEED = 0.15  # E a frame, 95th percentile
_JITTER = 0.04  # E, second difference after smoothing
_TALKS = 0.012  # E, standard deviation of the lip gap: .0015 at rest, .022 to .047 of four who speak
_OPEN = 0.06  # E, smallest gaps
_SOFT = 12.0  # sharpness, see `_sharpness`
_BRIEF = 4.0  # s
_PATCH = 160  # pixels, the square that a face is measured in

_SENTENCES = {
    "low_resolution": "The face is small in the picture, so the lips will look soft. Move closer to the camera.",
    "dim": "The face is rather dark. More light from the front would help.",
    "too_bright": "The face is overexposed. Turn the light down or move away from it.",
    "head_turns": "The head turns far to the side or up and down. Looking at the camera works best.",
    "moves_too_much": "There is much movement. Sitting still, as if listening, works best.",
    "shaky": "The picture shakes. Put the camera on something firm.",
    "blurry": "The face is blurred. Check the focus and wipe the lens.",
    "already_talking": "The person talks in the clip. That works, but a clip at rest, mouth closed, looks better.",
    "mouth_open": "The mouth is open all the time. Close the lips now and then: it looks better in silence.",
    "short_clip": "The clip is short, so its movement repeats often. Ten seconds or more look better.",
    "face_lost_briefly": "The face was lost for a moment and was filled in there.",
    "second_face": "Another face appears for a moment. Record yourself alone.",
    "face_at_edge": "The chin or mouth is cut off by the picture's edge. Leave some room around the face.",
    "trimmed": "The clip is longer than needed: only its beginning is used.",
    "hdr": "The video was recorded in HDR; its colours may look pale. Switch HDR off in the camera.",
    "still": "A picture was given: it gets a gentle movement of its own. A video of ten seconds looks more alive.",
}


@dataclass(frozen=True, slots=True)
class Look:
    """What was measured in one frame: luma percentiles of the face, its sharpness, mean luma of the whole frame."""

    dark: float
    bright: float
    sharpness: float
    whole: float


def look(luma: U8, mesh: F32) -> Look:
    """Measure one frame (h, w) at its face."""
    height, width = luma.shape
    (x0, y0), (x1, y1) = mesh[:, :2].min(0), mesh[:, :2].max(0)
    left, top = max(0, int(x0)), max(0, int(y0))
    part = luma[top : min(height, int(y1) + 1), left : min(width, int(x1) + 1)]
    if part.shape[0] < 4 or part.shape[1] < 4:
        return Look(0.0, 0.0, 0.0, float(luma[::8, ::8].mean()))
    inner = part[part.shape[0] // 8 : -part.shape[0] // 8 or None, part.shape[1] // 5 : -part.shape[1] // 5 or None]
    low, high = np.percentile(inner, [25, 75])
    return Look(float(low), float(high), _sharpness(part), float(luma[::8, ::8].mean()))


def _sharpness(part: U8) -> float:
    """Variance of the Laplacian of the face in a square of 160 pixels, relative to its contrast (x 1000)."""
    patch = cv2.resize(part, (_PATCH, _PATCH), interpolation=cv2.INTER_AREA).astype(np.float32)
    return float(1000 * cv2.Laplacian(patch, cv2.CV_32F).var() / max(float(patch.var()), 25.0))


def darkness(luma: U8) -> bool:
    """Whether a frame in which no face was found is simply dark."""
    return bool(np.percentile(luma[::4, ::4], 90) < 50)


def report(
    landmarks: F32,
    looks: list[Look],
    source: SourceFacts,
    *,
    width: int,
    height: int,
    bridged: int,
    rivals: float,
    still: bool,
    max_seconds: float,
) -> QualityReport:
    """The report on a clip. landmarks: (n, 468, 3), smoothed; looks: of some of its frames.

    bridged: frames whose face was filled in; rivals: share of frames with a second face.
    """
    count = len(landmarks)
    unit = eye_distance(landmarks)
    size = float(np.median(unit))
    nose = landmarks[:, 1, :2] / size
    steps = np.hypot(*np.diff(nose, axis=0).T)
    gap = np.hypot(*(landmarks[:, LIPS[1], :2] - landmarks[:, LIPS[0], :2]).T) / unit
    yaw, pitch = _angles(landmarks)
    chin = landmarks[:, 152, :2]
    outside = (chin[:, 1] > height) | (chin[:, 0] < 0) | (chin[:, 0] > width)
    metrics = {
        "seconds": count / FPS,
        "eye_distance_px": size,
        "face_luma": float(np.median([x.bright for x in looks])),
        "face_luma_low": float(np.median([x.dark for x in looks])),
        "sharpness": float(np.median([x.sharpness for x in looks])),
        "roll_deg": float(np.median(_roll(landmarks))),
        "yaw_deg": float(np.percentile(np.abs(yaw), 95)),
        "pitch_deg": float(np.percentile(np.abs(pitch), 95)),
        "wander": float(np.hypot(*np.ptp(nose, axis=0))),
        "speed": float(np.percentile(steps, 95)),
        "jitter": float(np.sqrt((np.diff(nose, 2, axis=0) ** 2).sum(1).mean())),
        "gap_rest": float(np.percentile(gap, 10)),
        "gap_deviation": float(gap.std()),
        "bridged": float(bridged),
        "second_face": rivals,
        "outside": float(outside.mean()),
    }
    found: list[Finding] = []

    def note(code: str, severity: Severity, metric: str) -> None:
        found.append(
            Finding(
                code=code,
                severity=severity,
                message=_SENTENCES[code] if code in _SENTENCES else MESSAGES[code],
                value=round(metrics[metric], 4),
            )
        )

    if size < _TINY:
        note("face_too_small", "error", "eye_distance_px")
    elif size < _SMALL:
        note("low_resolution", "warning", "eye_distance_px")
    if metrics["roll_deg"] > _ROLL:
        note("not_upright", "error", "roll_deg")
    if metrics["face_luma"] < _DARK:
        note("too_dark", "error", "face_luma")
    elif metrics["face_luma"] < _DIM:
        note("dim", "warning", "face_luma")
    elif metrics["face_luma_low"] > _GLARE:
        note("too_bright", "warning", "face_luma_low")
    if metrics["outside"] > 0.1:
        note("face_at_edge", "warning", "outside")
    if max(metrics["yaw_deg"] / _YAW, metrics["pitch_deg"] / _PITCH) > 1:
        note("head_turns", "warning", "yaw_deg")
    if metrics["wander"] > _WANDER or metrics["speed"] > _SPEED:
        note("moves_too_much", "warning", "wander")
    if metrics["jitter"] > _JITTER:
        note("shaky", "warning", "jitter")
    if metrics["sharpness"] < _SOFT:
        note("blurry", "warning", "sharpness")
    if metrics["gap_deviation"] > _TALKS:
        note("already_talking", "info", "gap_deviation")
    if metrics["gap_rest"] > _OPEN:
        note("mouth_open", "warning", "gap_rest")
    if not still and metrics["seconds"] < _BRIEF:
        note("short_clip", "warning", "seconds")
    if bridged:
        note("face_lost_briefly", "info", "bridged")
    if rivals:
        note("second_face", "warning", "second_face")
    if still:
        note("still", "info", "seconds")
    if source.duration > max_seconds + 1:
        note("trimmed", "info", "seconds")
    if source.hdr:
        note("hdr", "warning", "face_luma")
    return QualityReport(
        ok=all(f.severity != "error" for f in found),
        findings=tuple(found),
        metrics={name: round(value, 4) for name, value in metrics.items()},
    )


def _roll(landmarks: F32) -> F32:
    """How far each frame's head is turned from upright in the picture, either way: 0 to 180 degrees."""
    across = landmarks[:, LEFT_EYE, :2] - landmarks[:, RIGHT_EYE, :2]
    return np.asarray(np.degrees(np.abs(np.arctan2(across[:, 1], across[:, 0]))), np.float32)


def _angles(landmarks: F32) -> tuple[F32, F32]:
    """Yaw and pitch of each frame in degrees, from the mesh's own depth: cheek to cheek and forehead to chin."""
    across = landmarks[:, 454] - landmarks[:, 234]
    down = landmarks[:, 152] - landmarks[:, 10]
    yaw = np.degrees(np.arctan2(across[:, 2], np.hypot(across[:, 0], across[:, 1])))
    pitch = np.degrees(np.arctan2(down[:, 2], np.hypot(down[:, 0], down[:, 1])))
    return yaw.astype(np.float32), pitch.astype(np.float32)
