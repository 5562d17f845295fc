"""Uploaded speech: every usual format, hostile files, limits, nothing left behind."""

from __future__ import annotations

import asyncio
import os
import struct
import tempfile
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest

from avatars.sandbox import Completed, Limits, run_limited
from pipeline import speech_file
from pipeline.media import SAMPLE_RATE, Pcm
from pipeline.speech_file import SpeechFileError, decode_speech, limits_for
from pipeline.speech_file_child import demuxer_of
from tests.voices.fakes import tone

SECONDS = 1.5
_NOISE = np.random.default_rng(1).bytes(5000)


async def decoded(path: Path, max_seconds: float = 60.0, limits: Limits | None = None) -> Pcm:
    async with asyncio.timeout(30):
        chunks = [c async for c in decode_speech(path, max_seconds=max_seconds, limits=limits)]
    assert all(chunk.phonemes is None and chunk.words == () for chunk in chunks)
    return np.concatenate([chunk.pcm for chunk in chunks])


async def refusal(path: Path, max_seconds: float = 60.0, limits: Limits | None = None) -> str:
    with pytest.raises(SpeechFileError) as failure:
        await decoded(path, max_seconds, limits)
    assert len(str(failure.value)) > 10
    return failure.value.code


def encode(path: Path, container: str, codec: str, rate: int, layout: str, seconds: float = SECONDS) -> Path:
    """A 440 Hz tone of level 0.3 in a format."""
    sound = tone(seconds, 440.0)
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        channels = 2 if layout == "stereo" else 1  # the same on both: FFmpeg's own mono-to-stereo is 3 dB quieter
        frame = av.AudioFrame.from_ndarray(np.repeat(sound, channels).reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = SAMPLE_RATE
        frame.time_base = Fraction(1, SAMPLE_RATE)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    return path


FORMATS = [
    ("wav", "pcm_s16le", 16_000, "mono"),
    ("wav", "pcm_u8", 11_025, "stereo"),
    ("wav", "pcm_f32le", 96_000, "stereo"),
    ("mp3", "libmp3lame", 44_100, "stereo"),
    ("ipod", "aac", 44_100, "mono"),
    ("adts", "aac", 44_100, "mono"),
    ("ogg", "libopus", 48_000, "mono"),
    ("webm", "libopus", 48_000, "stereo"),
    ("flac", "flac", 48_000, "mono"),
    ("aiff", "pcm_s16be", 22_050, "mono"),
]


@pytest.mark.parametrize("kind", FORMATS, ids=["-".join(map(str, kind)) for kind in FORMATS])
async def test_formats(tmp_path: Path, kind: tuple[str, str, int, str]) -> None:
    path = encode(tmp_path / "sound.bin", *kind)  # the name says nothing
    sound = await decoded(path)
    assert sound.dtype == np.int16
    assert len(sound) / SAMPLE_RATE == pytest.approx(SECONDS, abs=0.1)
    middle = sound[SAMPLE_RATE // 4 : SAMPLE_RATE // 4 + SAMPLE_RATE].astype(float)
    assert int(np.abs(np.fft.rfft(middle)).argmax()) == 440
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.3 * 32767 / 2**0.5, rel=0.08)  # loudness left alone
    assert path.exists()


async def test_a_stereo_recording_is_mixed(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    left = tone(1.0, 440.0)
    with wave.open(str(path), "wb") as out:
        out.setparams((2, 2, SAMPLE_RATE, 0, "NONE", ""))
        out.writeframes(np.stack([left, np.zeros_like(left)], axis=1).tobytes())
    sound = await decoded(path)
    assert np.abs(sound.astype(int)).max() == pytest.approx(0.15 * 32767, rel=0.05)


PLAYLISTS = [
    b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nm=audio 5004 RTP/AVP 0\r\n",
    b'<?xml version="1.0"?><MPD></MPD>',
    b"[playlist]\nFile1=http://127.0.0.1/x\n",
]


@pytest.mark.parametrize("content", PLAYLISTS, ids=["m3u8", "concat", "sdp", "dash", "pls"])
def test_playlists_have_no_format(content: bytes) -> None:
    assert demuxer_of(content) is None


@pytest.mark.parametrize(
    "content",
    [
        PLAYLISTS[0],
        b"RIFF\x00\x00\x00\x00WAVE" + b"\x00" * 100,
        b"OggS" + _NOISE,
        b"ID3\x04\x00\x00\x00\x00\x00\x00" + PLAYLISTS[0],
        b"\xff\xfb\x90\x64" + _NOISE,
    ],
    ids=["m3u8", "wav-head", "ogg-head", "id3-playlist", "mp3-head"],
)
async def test_what_is_no_recording(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "speech.wav"
    path.write_bytes(content)
    assert await refusal(path) in ("audio_unreadable", "audio_empty")


async def test_empty_and_soundless(tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.write_bytes(b"")
    assert await refusal(empty) == "audio_empty"
    silent = tmp_path / "video.mp4"
    with av.open(str(silent), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    assert await refusal(silent) == "audio_empty"
    nothing = tmp_path / "nothing.wav"
    with wave.open(str(nothing), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
    assert await refusal(nothing) == "audio_empty"


@pytest.mark.parametrize("kind", [FORMATS[0], FORMATS[3], FORMATS[6], FORMATS[7]], ids=["wav", "mp3", "ogg", "webm"])
async def test_a_truncated_file_is_spoken_as_far_as_it_goes(tmp_path: Path, kind: tuple[str, str, int, str]) -> None:
    path = encode(tmp_path / "x", *kind, seconds=4.0)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    sound = await decoded(path)
    assert 1.0 < len(sound) / SAMPLE_RATE < 3.0


async def test_too_long_is_told_before_anything_is_spoken(tmp_path: Path) -> None:
    path = encode(tmp_path / "x", *FORMATS[0], seconds=4.0)
    stream = decode_speech(path, max_seconds=2.0)
    with pytest.raises(SpeechFileError) as failure:
        await anext(stream)
    assert failure.value.code == "audio_too_long"


async def test_a_length_that_the_file_hides(tmp_path: Path) -> None:
    path = encode(tmp_path / "x", *FORMATS[0], seconds=3.0)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)  # "as long as it gets", what streaming recorders write
    path.write_bytes(data)
    assert await refusal(path, max_seconds=2.0) == "audio_too_long"


async def test_a_small_file_that_would_be_huge(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 1, 1, 0, "NONE", ""))  # 1 Hz: 48 000 samples for each
        out.writeframes(b"\x80\x90" * 20_000)
    assert await refusal(path, max_seconds=1e6) == "audio_unreadable"


async def test_limits_hold(tmp_path: Path) -> None:
    path = encode(tmp_path / "x", *FORMATS[0])
    tight = Limits(memory_bytes=16 << 20, wall_seconds=20)
    assert await refusal(path, limits=tight) == "audio_unreadable"


async def test_nothing_is_left_when_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    path = encode(tmp_path / "x", *FORMATS[0], seconds=20.0)
    stream = decode_speech(path)
    async with asyncio.timeout(20):
        chunk = await anext(stream)
        assert len(chunk.pcm)
        assert list((tmp_path / "tmp").iterdir()) == []  # unlinked while it is still written
        await stream.aclose()
    children = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not any("speech_file_child" in line for line in children)


async def test_a_child_that_hangs_ends_with_its_listener(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    task = asyncio.create_task(decoded(pipe))
    async with asyncio.timeout(20):
        with await asyncio.to_thread(pipe.open, "wb"):  # opens when the child has opened it; then the child waits
            task.cancel()
            await asyncio.wait({task})
    assert task.cancelled()
    children = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not any("speech_file_child" in line for line in children)


async def test_nothing_is_left_of_a_refused_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "x").write_bytes(b"no sound")
    assert await refusal(tmp_path / "x") == "audio_unreadable"
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_a_missing_file(tmp_path: Path) -> None:
    assert await refusal(tmp_path / "none.wav") == "audio_unreadable"


def test_limits_grow_with_the_length() -> None:
    assert limits_for(600).file_bytes > 600 * SAMPLE_RATE * 2
    assert limits_for(10).file_bytes < 2 << 20


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\xfb\x90\x64", "mp3"),
        (b"\xff\xf1\x50\x80", "aac"),
        (b"\xff\xff\xff\xff", None),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "avi"),
        (b"\x00\x00\x00\x18ftypM4A ", "mov"),
        (b"ID3\x03\x00\x00\x00\x00\x00\x02xxfLaC", "flac"),
        (b"GIF89a", None),
        (b"", None),
    ],
)
def test_formats_are_told_by_their_first_bytes(head: bytes, name: str | None) -> None:
    assert demuxer_of(head) == name


async def test_many_recordings_at_once_are_decoded_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = most = 0

    async def counted(*args: Any, **more: Any) -> Completed:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await run_limited(*args, **more)
        finally:
            running -= 1

    monkeypatch.setattr(speech_file, "run_limited", counted)
    path = encode(tmp_path / "clip", "wav", "pcm_s16le", 16_000, "mono", 0.5)
    sounds = await asyncio.gather(*(decoded(path) for _ in range(10)))
    assert [len(sound) for sound in sounds] == [SAMPLE_RATE // 2] * 10
    assert most == 4
