from __future__ import annotations

import av
import numpy as np
import pytest

from avatars.avatar import Avatar, planes
from pipeline.audio_encoder import PACKET_SAMPLES, AudioEncoder
from pipeline.compositor import Compositor, output_size
from pipeline.media import MouthPatch, VideoSettings
from pipeline.video_encoder import VideoEncoder
from tests.pipeline.fakes import make_avatar, tone


def patch(x: int = 80, y: int = 60, width: int = 100, height: int = 64) -> MouthPatch:
    half = (height // 2, width // 2)
    return MouthPatch(
        x, y, np.full((height, width), 200, np.uint8), np.full(half, 90, np.uint8), np.full(half, 160, np.uint8)
    )


def encoded(settings: VideoSettings, avatar: Avatar, count: int, keys: set[int] = frozenset()) -> list[av.Packet]:  # type: ignore[assignment]
    compositor = Compositor(avatar, settings.height)
    encoder = VideoEncoder(settings, compositor.width, compositor.height)
    out = []
    for n in range(count):
        packets = encoder.encode(compositor.draw(n % avatar.count, None), n in keys)
        assert len(packets) == 1, "no picture is held back"
        out += packets
    return out


@pytest.mark.parametrize("size", [(320, 180), (178, 316), (70, 46)])
def test_outside_the_patch_nothing_changes_by_a_single_value(size: tuple[int, int]) -> None:
    avatar = make_avatar(*size)
    compositor = Compositor(avatar)
    laid = patch(10, 6, 40, 30)
    for mouth in (laid, None):
        drawn = compositor.draw(3, mouth).to_ndarray().reshape(-1)
        expected = avatar.frames[3].copy()
        if mouth is not None:
            y, u, v = planes(expected, *size)
            y[6:36, 10:50] = 200
            u[3:18, 5:25], v[3:18, 5:25] = 90, 160
        assert np.array_equal(drawn, expected)


@pytest.mark.parametrize(("asked", "size"), [(None, (320, 180)), (90, (160, 90)), (91, (160, 90)), (1080, (320, 180))])
def test_the_picture_is_made_smaller_as_asked_and_never_larger(asked: int | None, size: tuple[int, int]) -> None:
    avatar = make_avatar()
    assert output_size(avatar, asked) == size
    frame = Compositor(avatar, asked).draw(0, None)
    assert (frame.width, frame.height) == size


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_keyframes_come_when_asked_for_and_only_then(codec: str) -> None:
    settings = VideoSettings(codec=codec, bitrate=400_000, max_bitrate=800_000)
    packets = encoded(settings, make_avatar(), 40, keys={17})
    assert [n for n, packet in enumerate(packets) if packet.is_keyframe] == [0, 17]
    decoder = av.CodecContext.create("h264" if codec == "h264" else "vp8", "r")
    seen = [frame for packet in packets[17:] for frame in decoder.decode(av.Packet(bytes(packet)))]
    assert len(seen) >= 22, "decodable from the keyframe on"
    luma = seen[-1].to_ndarray()[:180].astype(int)
    rest = planes(make_avatar().frames[(17 + len(seen) - 1) % 30], 320, 180)[0]
    assert np.abs(luma - rest).mean() < 4


def test_h264_is_what_webrtc_agreed_on() -> None:
    """Annex B, parameter sets with each keyframe, constrained baseline (42 c0 or e0), no B frames."""
    packets = encoded(VideoSettings(), make_avatar(), 12, keys={6})
    for n in (0, 6):
        units = [unit for unit in bytes(packets[n]).split(b"\x00\x00\x01") if unit]
        kinds = [unit[0] & 31 for unit in units if unit != b"\x00"]
        assert {7, 8, 5} <= set(kinds)
        sps = next(unit for unit in units if unit[0] & 31 == 7)
        assert sps[1] == 0x42
        assert sps[2] & 0x40, "constraint_set1: constrained baseline"
    assert all(bytes(packet)[:3] in (b"\x00\x00\x00", b"\x00\x00\x01") for packet in packets)


def noise_avatar() -> Avatar:
    avatar = make_avatar(320, 180, 20)
    noise = np.random.default_rng(1).integers(0, 40, avatar.frames.shape, np.uint8)
    frames = avatar.frames + noise
    return Avatar(avatar.id, avatar.path, avatar.width, avatar.height, frames, avatar.faces)


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_a_new_bitrate_holds_from_then_on(codec: str) -> None:
    settings = VideoSettings(codec=codec, bitrate=1_500_000, max_bitrate=2_000_000, min_bitrate=100_000)
    compositor = Compositor(noise_avatar())
    encoder = VideoEncoder(settings, compositor.width, compositor.height)
    rates, keys = [], 0
    for bitrate in (1_500_000, 500_000):
        encoder.set_bitrate(bitrate)
        packets = [p for n in range(100) for p in encoder.encode(compositor.draw(n % 20, None), False)]
        rates.append(sum(p.size for p in packets[25:]) * 8 / 3)
        keys += sum(p.is_keyframe for p in packets)
    assert rates[0] == pytest.approx(1_500_000, rel=0.25)
    assert rates[1] == pytest.approx(500_000, rel=0.35)
    assert keys == (1 if codec == "h264" else 2)


def grainy_avatar() -> Avatar:
    """A still picture with the grain of a camera."""
    avatar = make_avatar(640, 360, 20)
    grain = np.random.default_rng(1).normal(0, 1.5, avatar.frames.shape)
    frames = np.clip(avatar.frames[0] + grain, 16, 235).astype(np.uint8)
    return Avatar(avatar.id, avatar.path, avatar.width, avatar.height, frames, avatar.faces)


def test_a_face_at_rest_takes_far_less_than_the_bitrate() -> None:
    packets = encoded(VideoSettings(), grainy_avatar(), 75)
    assert sum(packet.size for packet in packets[25:]) * 8 / 2 < 1_000_000


def test_a_cut_in_the_picture_brings_no_keyframe() -> None:
    avatar = make_avatar(320, 180, 20)
    frames = np.random.default_rng(1).integers(16, 235, avatar.frames.shape, np.uint8)
    wild = Avatar(avatar.id, avatar.path, avatar.width, avatar.height, frames, avatar.faces)
    packets = encoded(VideoSettings(), wild, 60)
    assert sum(packet.is_keyframe for packet in packets) == 1


def left_channel(frame: av.AudioFrame) -> np.ndarray:
    samples = frame.to_ndarray()
    return samples[0] if frame.format.is_planar else samples.reshape(-1, len(frame.layout.channels))[:, 0]


def test_sound_comes_back_as_it_was_and_full_band() -> None:
    encoder, decoder = AudioEncoder(), av.CodecContext.create("libopus", "r")
    for hertz in (300.0, 9000.0, 15_000.0):
        heard = []
        for part in np.split(tone(0.4, hertz, 0.3), 0.4 * 48_000 / PACKET_SAMPLES):
            (packet,) = encoder.encode(part)
            heard += [left_channel(frame) for frame in decoder.decode(av.Packet(bytes(packet)))]
        sound = np.concatenate(heard[5:])
        spectrum = np.abs(np.fft.rfft(sound))
        assert np.argmax(spectrum) * 48_000 / len(sound) == pytest.approx(hertz, rel=0.02)


def test_silence_is_small_and_silent() -> None:
    encoder, decoder = AudioEncoder(), av.CodecContext.create("libopus", "r")
    packets = [packet for _ in range(50) for packet in encoder.encode(None)]
    assert len(packets) == 50
    assert max(packet.size for packet in packets[10:]) < 40
    assert all(np.abs(f.to_ndarray()).max() < 1e-3 for p in packets for f in decoder.decode(av.Packet(bytes(p))))
