"""The finished picture: an avatar's frame with a mouth laid onto it, in one frame that is used again and again."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from avatars.avatar import U8, Avatar
from pipeline.media import MouthPatch


def output_size(avatar: Avatar, height: int | None) -> tuple[int, int]:
    """Width and height (both even) of the picture that is sent; an avatar is never enlarged."""
    if height is None or height >= avatar.height:
        return avatar.width, avatar.height
    height -= height % 2
    return max(2, round(avatar.width * height / avatar.height / 2) * 2), height


class Compositor:
    """Draws one session's pictures. Not thread-safe: one `draw` at a time, and its frame is valid until the next.

    The base is read once, from the avatar's file into the frame's own planes (an encoder would copy a borrowed buffer
    as well), the patch laid on top of it; nothing is converted.
    """

    def __init__(self, avatar: Avatar, height: int | None = None) -> None:
        self._avatar = avatar
        self.width, self.height = output_size(avatar, height)
        self._frame = av.VideoFrame(avatar.width, avatar.height, "yuv420p")
        self._planes = [_view(plane) for plane in self._frame.planes]
        scaled = (self.width, self.height) != (avatar.width, avatar.height)
        self._scaler = VideoReformatter() if scaled else None

    def draw(self, frame: int, patch: MouthPatch | None) -> av.VideoFrame:
        """Avatar frame `frame`, the patch on it, at the size that is sent. Raises OSError when it cannot be read."""
        self._avatar.copy(frame, self._planes)
        if patch is not None:
            self._lay(patch)
        if self._scaler is None:
            return self._frame
        return self._scaler.reformat(
            self._frame, self.width, self.height, "yuv420p", interpolation=Interpolation.FAST_BILINEAR
        )

    def _lay(self, patch: MouthPatch) -> None:
        x, y = patch.x, patch.y
        height, width = patch.luma.shape
        luma, u, v = self._planes
        luma[y : y + height, x : x + width] = patch.luma
        x, y, height, width = x // 2, y // 2, height // 2, width // 2
        u[y : y + height, x : x + width] = patch.u
        v[y : y + height, x : x + width] = patch.v


def _view(plane: av.video.plane.VideoPlane) -> U8:
    """A writable view of a plane's picture, without its padding."""
    rows: U8 = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]
