"""What the server and the worker process of a device say to each other, over one socket, in lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.lipsync.musetalk.installation import Version
from pipeline.timings import Spread

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker works.

    device: "cpu", "cuda:0", …; "auto": the first GPU, else the CPU. precision: fp32 or fp16; None: fp16 on a GPU,
    fp32 on the CPU. sizes: of batches; empty: what suits the device. threads: of torch on the CPU. slots, slot_bytes:
    of the memory through which patches come back. run_ahead, longest: see scheduler.py. nice: added to the niceness.
    """

    base: Path
    version: Version = "1.5"
    device: str = "auto"
    precision: Literal["fp32", "fp16"] | None = None
    sizes: tuple[int, ...] = ()
    threads: int = 1
    slots: int = 384
    slot_bytes: int = 512 * 1024
    run_ahead: float = 0.4
    longest: float = 0.05
    nice: int = 0


# -- to the worker


@dataclass(frozen=True, slots=True)
class OpenAvatar:
    """Load an avatar's frames and prepared data from its folder."""

    avatar: int
    folder: str
    width: int
    height: int
    count: int


@dataclass(frozen=True, slots=True)
class CloseAvatar:
    avatar: int


@dataclass(frozen=True, slots=True)
class Sound:
    """The next sound of an utterance: mono at 16 kHz, ±1. last: no more comes."""

    utterance: int
    sound: F32
    last: bool


@dataclass(frozen=True, slots=True)
class Forget:
    """No mouth of this utterance will be asked for any more."""

    utterance: int


@dataclass(frozen=True, slots=True)
class Draw:
    """Frame `index` of an utterance onto avatar frame `frame`, into a slot of the memory. Answered once."""

    job: int
    avatar: int
    frame: int
    utterance: int
    index: int
    presence: float
    deadline: float
    slot: int


@dataclass(frozen=True, slots=True)
class Cancel:
    job: int


@dataclass(frozen=True, slots=True)
class Stop:
    pass


ToWorker = OpenAvatar | CloseAvatar | Sound | Forget | Draw | Cancel | Stop

# -- from the worker


@dataclass(frozen=True, slots=True)
class Ready:
    """Loaded and measured. costs: seconds of each batch size; frames_per_second: mouths, in the sizes that are used;
    seconds: since the process began."""

    device: str
    costs: dict[int, float]
    frames_per_second: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Opened:
    """An avatar is on the device; width and height of its canvas. problem: why it is not."""

    avatar: int
    width: int = 0
    height: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a Draw. place: x, y, width, height of the patch in the upper left of the slot's canvas."""

    job: int
    outcome: Literal["drawn", "nothing", "late", "cancelled"]
    place: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker ends. lasting: starting it again would not help."""

    message: str
    lasting: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts since the worker began, sent about once a second while it works. sizes: batches of each number of mouths;
    seconds: what they took.
    """

    drawn: int
    skipped: int
    batches: int
    encodings: int
    costs: dict[int, float] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    seconds: Spread = field(default_factory=Spread)


FromWorker = Ready | Opened | Answer | Failed | Figures
