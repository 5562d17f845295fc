"""`python -m bench.musetalk`: what MuseTalk does on this machine's GPU (else its CPU): a table, in under 8 minutes.

On a GPU with the full-size network of random weights; on a CPU with the tiny golden one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
import psutil
import torch

from bench import machine, musetalk_buckets, musetalk_random, musetalk_strict
from bench.figures import Figure, table
from pipeline.lipsync.musetalk.messages import WorkerSettings
from pipeline.lipsync.musetalk.renderer import Renderer

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("LECTERN_SHARED", ROOT.parent / "shared"))
BUDGET = 450.0  # seconds for everything


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.musetalk")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:0, …")
    parser.add_argument("--sessions", type=int, help="the strict test alone, from so many sessions on")
    parser.add_argument("--keep", type=Path, help="a folder for the random installation, which is used again")
    parser.add_argument("--seconds", type=float, help="of the strict test's last run (default: 60, on a CPU 20)")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    name = options.device
    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    threads = max(1, len(os.sched_getaffinity(0)) - 1)
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="musetalk-bench-") as scratch:
        base = _base(options.keep or Path(scratch), device)
        avatar = musetalk_random.avatar(Path(scratch) / "avatar")
        rows = _networks(base, avatar, device) if options.sessions is None else []
        rows += _live(
            base,
            avatar,
            device,
            threads,
            options.seconds or (60.0 if device.type == "cuda" else 20.0),
            BUDGET - (time.monotonic() - began),
            options.sessions,
        )
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else f"the CPU, {threads} thread(s)"
    size = "full-size network, random weights, fp16" if device.type == "cuda" else "tiny golden network, fp32"
    print(f"\n{machine.describe()}\ntorch {torch.__version__} on {what}; {size}\n\n{table(rows)}")
    print(f"\n{time.monotonic() - began:.0f} s in all")
    return 0


def _base(scratch: Path, device: torch.device) -> Path:
    if device.type == "cuda":
        if not (scratch / "full").is_dir():
            _say("writing the random installation")
            musetalk_random.installation(scratch / "full")
        return scratch / "full"
    golden = SHARED / "musetalk" / "golden"
    if not golden.is_dir():
        sys.exit(f"without a GPU this needs the tiny network in {golden} (LECTERN_SHARED names the folder above)")
    return golden


def _networks(base: Path, avatar: musetalk_random.Avatar, device: torch.device) -> list[Figure]:
    cuda = device.type == "cuda"
    at_least = 1.0 if cuda else 0.5
    _say("loading and recording")
    sizes = (1, 2, 4, 8, 12, 16, 24, 32) if cuda else (1, 2, 4)
    began = time.monotonic()
    drawer = musetalk_buckets.drawer_of(base, device, sizes)
    loaded = time.monotonic() - began
    _say("batches")
    speeds = musetalk_buckets.speeds(drawer, avatar, at_least)
    per_frame = musetalk_buckets.flops(drawer)
    _say("a large matrix product")
    peak = musetalk_buckets.product(device, drawer.dtype, at_least)
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if cuda else psutil.Process().memory_info().rss / 2**30
    del drawer
    if cuda:
        torch.cuda.empty_cache()
    _say("the plain loop")
    plain = musetalk_buckets.plain_loop(base, avatar, device, 2 * at_least)
    if cuda:
        torch.cuda.empty_cache()
    rows = [
        Figure(
            f"batch of {s.size}: UNet + VAE",
            "",
            f"{s.both:.1f} fps",
            None,
            f"UNet {s.unet:.1f}, VAE {s.vae:.1f}; with blend and copy {s.patches:.1f} fps",
        )
        for s in speeds
    ]
    best = max(s.both for s in speeds)
    whole = max(s.patches for s in speeds)
    rate = best * per_frame
    rows += [
        Figure("UNet + VAE, best batch", "350 fps" if cuda else "", f"{best:.1f} fps", best >= 350 if cuda else None),
        Figure("the plain loop", "", f"{plain:.1f} fps", None, "eager, to the CPU in float, whole frames by PIL"),
        Figure(
            "ratio to it, with blend and copy",
            "5x" if cuda else "",
            f"{whole / plain:.1f}x",
            _ok(whole / plain, 5, cuda),
        ),
        Figure(
            "reached of the device",
            "",
            f"{rate / 1e12:.3g} TFLOP/s",
            None,
            f"{rate / peak:.0%} of a large matrix product's {peak / 1e12:.3g}; {per_frame / 1e9:.3g} GFLOP a frame",
        ),
        Figure("memory of the networks", "", f"{memory:.1f} GiB", None, f"loaded and recorded in {loaded:.1f} s"),
    ]
    return rows


def _live(
    base: Path,
    avatar: musetalk_random.Avatar,
    device: torch.device,
    threads: int,
    seconds: float,
    budget: float,
    guess: int | None,
) -> list[Figure]:
    cuda = device.type == "cuda"
    _say("starting the worker")
    delay = musetalk_strict.DELAY if cuda else musetalk_strict.CPU_DELAY
    renderer = Renderer(WorkerSettings(base, device=str(device), threads=threads, run_ahead=max(0.4, delay)))
    began = time.monotonic()
    renderer.start()
    try:
        if not renderer.wait(300):
            return [Figure("worker", "", "failed", False, renderer.problem)]
        ready = time.monotonic() - began
        rate = renderer.frames_per_second or 0.0
        rows = [Figure("start to ready", "60 s" if cuda else "", f"{ready:.1f} s", _ok(-ready, -60, cuda))]
        guess = guess or int(rate / 25)
        _say(f"the strict test, from {guess} sessions on")
        final, tried = musetalk_strict.largest(
            renderer, avatar, _speech(), guess, seconds, budget - (time.monotonic() - began), delay
        )
        memory = _memory(renderer.pid or 0, cuda)
        figures = renderer.figures
    finally:
        renderer.close()
    best = final.sessions if final.passed else 0
    gap = f"{final.gap * 1000:.0f} ms" if final.gap < 1e9 else "none"
    rows.append(
        Figure(
            "strict sessions, all speaking",
            "12" if cuda else "",
            str(best),
            _ok(best, 12, cuda),
            f"shown {delay:g} s after their sound; at {final.sessions} for {final.seconds:.0f} s: "
            f"{final.on_time:.2%} on time, worst session "
            f"{final.worst:.2%}, 99th percentile gap {gap}; tried {[t.sessions for t in tried]}",
        )
    )
    rows.append(
        Figure(
            "sound in to first mouth, at that load",
            "150 ms, 250 ms at the 95th percentile" if cuda else "",
            f"{final.median * 1000:.0f} ms, {final.percentile95 * 1000:.0f} ms" if final.first else "none in time",
            final.median <= 0.15 and final.percentile95 <= 0.25 if cuda else None,
            f"n={len(final.first)}",
        )
    )
    mean = figures.drawn / figures.batches if figures.batches else 0.0
    rows.append(
        Figure("memory of the worker", "", memory, None, f"mean batch {mean:.1f}, {figures.encodings} encodings")
    )
    return rows


def _ok(value: float, least: float, asked: bool) -> bool | None:
    return value >= least if asked else None


def _memory(pid: int, cuda: bool) -> str:
    if not cuda:
        return f"{psutil.Process(pid).memory_info().rss / 2**30:.1f} GiB of RAM" if psutil.pid_exists(pid) else "gone"
    used = subprocess.run(
        ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return f"{used.stdout.strip() or 'unknown'} on the device in all"


def _speech() -> np.ndarray:
    """48 kHz int16: recorded speech where it is, else a buzz with syllables."""
    path = SHARED / "media" / "speech-english-35s-16k.wav"
    if path.is_file():
        with wave.open(str(path)) as file:
            sound = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return np.repeat(sound, 3)
    t = np.arange(48000 * 20) / 48000
    return (6000 * np.sign(np.sin(2 * np.pi * 140 * t)) * (1 + np.sin(2 * np.pi * 4 * t)) / 2).astype(np.int16)


def _say(what: str) -> None:
    print(f"measuring: {what} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
