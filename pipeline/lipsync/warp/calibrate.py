"""How wide a commanded gap really looks on one face, measured by finding the landmarks again, and its correction."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from avatars.avatar import Avatar
from avatars.landmarks import FaceTracker
from avatars.models import ModelsMissing, find
from pipeline.lipsync.warp import points
from pipeline.lipsync.warp.face import Renderer
from pipeline.lipsync.warp.picture import picture
from pipeline.lipsync.warp.rig import Locator, Rig, inner_gap
from pipeline.lipsync.warp.shape import GAP_PER_OPENING
from pipeline.media import MouthPatch, MouthShape

F64 = NDArray[np.float64]

LIMIT = 0.35
"""A correction changes a gap by at most this share."""

_FRAMES = 7
_OPENINGS = np.array([0.0, 0.12, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0])

log = logging.getLogger(__name__)


def default_locator() -> Locator | None:
    """The face models' own mesh; None where they are not installed."""
    try:
        tracker = FaceTracker(find())
    except ModelsMissing as missing:
        log.info("warp: gaps are not calibrated: %s", missing)
        return None
    return lambda picture, start: tracker.landmarks(picture, start)[0]


def shown_gap(avatar: Avatar, rig: Rig, frame: int, patch: MouthPatch | None, locator: Locator) -> float:
    """The gap of the lips that an independent look at the finished picture finds, E."""
    mesh = locator(picture(avatar, frame, patch), avatar.faces.landmarks[frame])
    canonical = rig.pose.of(frame).canonical(mesh[None].astype(np.float64))
    return float(inner_gap(canonical[:, list(points.USED)])[0])


def calibrated(avatar: Avatar, rig: Rig, locator: Locator | None) -> Rig:
    """The rig with a correction table from its better frames; as it was where these can't be trusted."""
    if locator is None:
        return rig
    renderer = Renderer(avatar, rig)
    order = np.argsort(rig.gap + rig.override + 10 * (1 - rig.fit), kind="stable")
    best = order[: max(1, len(order) // 2)]
    frames = best[np.linspace(0, len(best) - 1, min(_FRAMES, len(best))).astype(int)]
    measured = [[_shown(avatar, rig, renderer, int(f), float(o), locator) for o in _OPENINGS] for f in frames]
    shown = np.median(np.array(measured), axis=0)
    table = correction(GAP_PER_OPENING * _OPENINGS, shown - shown[0])
    return rig if table is None else replace(rig, correction=table)


def _shown(avatar: Avatar, rig: Rig, renderer: Renderer, frame: int, opening: float, locator: Locator) -> float:
    return shown_gap(avatar, rig, frame, renderer.render(frame, MouthShape(opening), 1.0), locator)


def correction(asked: F64, shown: F64) -> F64 | None:
    """(k, 2) asked -> commanded, from what was asked and what showed, both from 0; None if what showed did not rise."""
    if not np.isfinite(shown).all() or np.any(np.diff(shown) <= 0.15 * np.diff(asked)):
        return None
    top = float(asked[-1])
    command = np.interp(asked, shown, asked)
    beyond = asked > shown[-1]
    command[beyond] = top + (asked[beyond] - shown[-1])
    command = np.clip(command, asked * (1 - LIMIT), asked * (1 + LIMIT))
    # Beyond the table the last correction goes on.
    last = np.array([2 * top, 2 * command[-1]])
    return np.vstack([np.stack([asked, command], axis=-1), last])
