"""`python -m bench.musetalk_golden FOLDER [DEVICE]`: holds the MuseTalk engine to recorded cases; 1 where one is off.

DEVICE: cpu (as the cases were recorded), or a GPU, in full float32.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from pipeline.lipsync.musetalk import blending, latents, networks, prompts
from pipeline.lipsync.musetalk.installation import Version, find

TENSORS, FACES, EXACT = 1e-4, 1.0, 0.0
VERSIONS: dict[str, Version] = {"musetalkV15": "1.5", "musetalk": "1.0"}


@dataclass(frozen=True, slots=True)
class Case:
    """The largest absolute difference of one case, and how much is allowed."""

    name: str
    difference: float
    allowed: float

    @property
    def good(self) -> bool:
        return self.difference <= self.allowed


def main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    torch.set_num_threads(2)
    bad = 0
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for case in check(Path(arguments[0]), *arguments[1:]):
        bad += not case.good
        print(f"{case.name:42} {case.difference:12.3g}  allowed {case.allowed:g}  {'ok' if case.good else 'OFF'}")
    return 1 if bad else 0


def check(folder: Path, device: str = "cpu") -> Iterator[Case]:
    """All cases of a folder with a `cases.json`, the networks on that device."""
    cases = json.loads((folder / "cases.json").read_text())
    base = (folder / cases["models"]).parent
    listener = prompts.Listener(find(base), device)
    sound = _sound(folder / cases["speech"])
    for case in cases["audio"]:
        expected = np.load(folder / case["file"])
        start, count = round(case["start_s"] * prompts.RATE), round(case["duration_s"] * prompts.RATE)
        got = listener.prompts(sound[start : start + count], case["fps"])
        missing = abs(len(got) - int(expected["num_frames"]))
        yield Case(f"{case['file']}: number of frames", missing, EXACT)
        if not missing:
            yield Case(f"{case['file']}: prompts", _off(got[expected["index"]], expected["prompts"]), TENSORS)
    yield from _render(folder, cases, base, torch.device(device))
    yield from _blend(folder, cases)


def _render(folder: Path, cases: dict[str, str], base: Path, device: torch.device) -> Iterator[Case]:
    frames = np.load(folder / cases["frames"])["frames_bgr"]
    expected = np.load(folder / cases["render"])
    box = tuple(int(value) for value in expected["bbox"])
    vae = networks.vae(find(base)).to(device).float()
    crops = latents.crops(list(frames), [box] * len(frames)).to(device)  # type: ignore[list-item]
    yield Case("latents of the avatar", _off(latents.encode(vae, crops).cpu().numpy(), expected["latents"]), TENSORS)
    spoken = torch.from_numpy(expected["prompts"] + prompts.positional()).to(device)
    for name, version in VERSIONS.items():
        if f"{name}_latents" not in expected:
            continue
        unet = networks.unet(find(base, version)).to(device).float()
        with torch.inference_mode():
            known = torch.from_numpy(expected["latents"]).to(device)
            predicted = unet(known, torch.tensor([0], device=device), spoken).sample
        yield Case(f"{name}: predicted latents", _off(predicted.cpu().numpy(), expected[f"{name}_latents"]), TENSORS)
        faces = latents.decode(vae, predicted).cpu().numpy()
        yield Case(f"{name}: faces", _off(faces, expected[f"{name}_faces_bgr"]), FACES)


def _blend(folder: Path, cases: dict[str, str]) -> Iterator[Case]:
    expected = np.load(folder / cases["blend"])
    labels = cv2.imread(str(folder / cases["labels"]), cv2.IMREAD_GRAYSCALE)
    x0, y0, x1, y1 = (int(value) for value in expected["bbox"])
    box = (x0, y0, x1, y1)
    yield Case("crop box", _off(np.array(blending.crop_box(box)), expected["crop_box"]), EXACT)
    left, top, right, bottom = blending.crop_box(box)
    for mode in ("raw", "jaw"):
        soft = blending.mask(labels, box, mode)  # type: ignore[arg-type]
        yield Case(f"mask {mode}", _off(soft, expected[f"mask_{mode}"]), EXACT)
        frame = expected["frame_0_bgr"].copy()
        blending.blend(frame, expected["face_256_bgr"], box, soft)
        height, width = frame.shape[:2]
        seen = frame[max(0, top - 4) : min(height, bottom + 4), max(0, left - 4) : min(width, right + 4)]
        yield Case(f"blend {mode}", _off(seen, expected[f"blend_{mode}"]), EXACT)


def _off(got: np.ndarray, expected: np.ndarray) -> float:
    if got.shape != expected.shape:
        return float("inf")
    return float(np.abs(got.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0))


def _sound(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=prompts.RATE)
        pieces = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        pieces += [out.to_ndarray()[0] for out in resampler.resample(None)]
    return np.concatenate(pieces)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
