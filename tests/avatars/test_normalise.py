"""Any allowed video becomes 25 frames a second, upright, even-sized, in the right colours."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatars.errors import AvatarError
from avatars.normalise import Bounds, Source, fit
from avatars.record import SourceFacts
from avatars.sniff import sniff
from tests.avatars.conftest import noise, write_video


def normalise(path: Path, bounds: Bounds | None = None) -> tuple[SourceFacts, list[np.ndarray]]:
    bounds = bounds or Bounds()
    kind = sniff(path)
    with Source(path, kind, bounds) as source:
        facts = source.facts(source.first())
    with Source(path, kind, bounds) as source:
        return facts, [frame for _, frame in source.frames()]


def rgb(frame: np.ndarray) -> np.ndarray:
    """Mean colour of the four quarters (4, 3) of an I420 frame, read as BT.709 limited range."""
    height, width = frame.shape[0] * 2 // 3, frame.shape[1]
    y = frame[:height].astype(float)
    u, v = frame[height:].reshape(2, height // 2, width // 2).astype(float)
    out = []
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        luma, cb, cr = (
            (_quarter(plane, i, j).mean() - zero) * scale
            for plane, zero, scale in ((y, 16, 255 / 219), (u, 128, 255 / 224), (v, 128, 255 / 224))
        )
        red, blue = luma + 1.5748 * cr, luma + 1.8556 * cb
        out.append([red, (luma - 0.2126 * red - 0.0722 * blue) / 0.7152, blue])
    return np.array(out)


def _quarter(plane: np.ndarray, i: int, j: int) -> np.ndarray:
    """The inside of one quarter, clear of its edges."""
    h, w = plane.shape[0] // 2, plane.shape[1] // 2
    return plane[i * h + 4 : (i + 1) * h - 4, j * w + 4 : (j + 1) * w - 4]


QUARTERS = np.array([[200, 60, 60], [60, 180, 60], [70, 70, 200], [190, 190, 190]], float)  # RGB


def quarters(width: int = 320, height: int = 240, count: int = 26) -> list[np.ndarray]:
    frame = np.zeros((height, width, 3), np.uint8)
    for n, colour in enumerate(QUARTERS):
        y, x = divmod(n, 2)
        frame[y * height // 2 :, x * width // 2 :][: height // 2, : width // 2] = colour[::-1]
    return [frame] * count


@pytest.mark.parametrize(
    ("codec", "pixels", "name", "facts"),
    [
        ("libx264", "yuv420p", "clip.mp4", ("mp4", "h264", 8)),
        ("libx264", "yuv444p", "clip.mov", ("mov", "h264", 8)),
        ("libx264", "yuv420p10le", "clip.mkv", ("mkv", "h264", 10)),
        ("libx265", "yuv420p10le", "clip.mp4", ("mp4", "hevc", 10)),
        ("libvpx", "yuv420p", "clip.webm", ("webm", "vp8", 8)),
        ("libvpx-vp9", "yuv420p", "clip.webm", ("webm", "vp9", 8)),
        ("libsvtav1", "yuv420p", "clip.mp4", ("mp4", "av1", 8)),
        ("mpeg4", "yuv420p", "clip.avi", ("avi", "mpeg4", 8)),
    ],
)
def test_every_allowed_kind_is_read_in_its_colours(
    tmp_path: Path, codec: str, pixels: str, name: str, facts: tuple[str, str, int]
) -> None:
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = write_video(tmp_path / name, quarters(), codec=codec, pixels=pixels, options=quiet)
    found, frames = normalise(path)
    assert (found.container, found.codec, found.bits) == facts
    assert len(frames) == 26
    assert frames[0].shape == (360, 320)
    assert np.abs(rgb(frames[13]) - QUARTERS).max() < 10


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_clip_stands_upright(tmp_path: Path, turn: int) -> None:
    upright = quarters()
    # As a phone does: the sensor's picture is stored turned, the matrix turns it back (anticlockwise).
    stored = [np.rot90(f, -turn // 90) for f in upright]
    found, frames = normalise(write_video(tmp_path / "clip.mp4", stored, rotation=turn))
    assert found.rotation == turn
    assert (found.width, found.height) == (320, 240)
    assert np.abs(rgb(frames[5]) - QUARTERS).max() < 10


def test_odd_sizes_and_pixels_that_are_not_square(tmp_path: Path) -> None:
    odd = [f[:239, :319] for f in quarters()]
    _, frames = normalise(write_video(tmp_path / "odd.mkv", odd, codec="libx264", pixels="yuv444p"))
    assert frames[0].shape == (238 * 3 // 2, 318)
    wide = write_video(tmp_path / "wide.mp4", quarters(), aspect=Fraction(4, 3))
    found, frames = normalise(wide)
    assert (found.width, found.height) == (320, 180)
    assert frames[0].shape == (270, 320)


def test_variable_frame_rate_follows_the_times(tmp_path: Path) -> None:
    # 20 frames 100 ms apart, then 20 frames 20 ms apart; the brightness says which frame it is.
    times = [n * 0.1 for n in range(20)] + [2.0 + n * 0.02 for n in range(20)]
    frames = [np.full((96, 96, 3), 40 + 4 * n, np.uint8) for n in range(40)]
    _, made = normalise(write_video(tmp_path / "clip.mkv", frames, times=times))
    assert abs(len(made) - 60) <= 1
    for k in (0, 5, 12, 30, 49, 52, 57):
        shown = (made[k][:96].mean() - 16) * 255 / 219
        nearest = min(range(40), key=lambda n: abs(times[n] - k / 25))
        assert abs(shown - (40 + 4 * nearest)) < 2, k


def test_thirty_frames_a_second_become_twenty_five(tmp_path: Path) -> None:
    times = [round(n / 30, 3) for n in range(60)]
    _, made = normalise(write_video(tmp_path / "clip.mkv", noise(60, 64, 64), times=times))
    assert abs(len(made) - 50) <= 1


def test_only_the_beginning_of_a_long_clip_is_used(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", noise(100, 64, 64))
    _, made = normalise(path, Bounds(max_seconds=2.0))
    assert len(made) == 50


def test_a_long_pause_between_two_pictures_ends_at_the_limit(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", noise(3, 64, 64), times=[0.0, 0.04, 3000.0])
    _, made = normalise(path, Bounds(max_seconds=2.0))
    assert len(made) == 50


@pytest.mark.parametrize(
    ("size", "limit", "result"),
    [
        ((1920, 1080), 720, (1280, 720)),
        ((1080, 1920), 720, (720, 1280)),
        ((704, 1216), 720, (704, 1216)),
        ((3840, 2160), 1080, (1920, 1080)),
        ((4000, 720), 720, (2262, 406)),
        ((225, 223), 720, (224, 222)),
    ],
)
def test_sizes(size: tuple[int, int], limit: int, result: tuple[int, int]) -> None:
    assert fit(*size, Bounds(max_height=limit)) == result


@given(st.integers(2, 8192), st.integers(2, 8192))
def test_a_size_is_even_within_bounds_and_never_larger(width: int, height: int) -> None:
    w, h = fit(width, height, Bounds())
    assert (w % 2, h % 2) == (0, 0)
    assert 2 <= w <= width
    assert 2 <= h <= height
    assert min(w, h) <= 720
    assert w * h <= 1280 * 720


def test_a_clip_under_a_second_is_too_short(tmp_path: Path) -> None:
    with pytest.raises(AvatarError) as caught:
        normalise(write_video(tmp_path / "clip.mp4", noise(12, 64, 64)))
    assert caught.value.code == "too_short"


@pytest.mark.shared
def test_the_real_clips(media: Path) -> None:
    sizes = {"idle-woman-1280x720-30fps.mp4": (1280, 720), "speaker-synced-224x224-offset3.avi": (224, 224)}
    for name, (width, height) in sizes.items():
        found, frames = normalise(media / name, Bounds(max_seconds=2))
        assert (found.width, found.height) == (width, height)
        assert frames[-1].shape == (height * 3 // 2, width)
        assert len(frames) == 50
