"""How far files are that are fetched: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from typing import TextIO

from pipeline.hub.fetch import Step


class FetchBars:
    """A bar for each file on a terminal; where there is none, a line at its begin, each quarter and its end."""

    WIDTH = 24
    _EVERY = 0.1  # s between two drawings

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live = out.isatty()
        self._file = ""
        self._quarter = -1
        self._began = (0.0, 0)
        self._drawn = 0.0
        self._open = False

    def show(self, step: Step) -> None:
        now = time.monotonic()
        if step.file != self._file:
            self.end()
            self._file, self._quarter, self._began = step.file, -1, (now, step.done)
        if step.over or step.note not in ("", "checking"):
            self.end()
            self._line(f"{step.file}: {step.note}")
            self._began = (now, step.done)
        elif self._live and now - self._drawn >= self._EVERY:
            self._drawn, self._open = now, True
            print(f"\r{self._bar(step, now)}\x1b[K", end="", file=self._out, flush=True)
        elif not self._live and step.total and step.done * 4 // step.total != self._quarter and not step.note:
            self._quarter = step.done * 4 // step.total
            self._line(f"{step.file}: {step.done / step.total:.0%} of {_size(step.total)}")

    def end(self) -> None:
        """Leave the bar that is drawn, so that what follows begins on a line of its own."""
        if self._open:
            print("\r\x1b[K", end="", file=self._out, flush=True)
        self._open = False

    def _bar(self, step: Step, now: float) -> str:
        share = step.done / step.total if step.total else 0.0
        seconds, bytes_ = now - self._began[0], step.done - self._began[1]
        speed = f"{_size(bytes_ / seconds)}/s" if seconds > 0.5 and not step.note else step.note
        full = round(share * self.WIDTH)
        return f"[{'#' * full:<{self.WIDTH}}] {share:4.0%} of {_size(step.total):>8} {speed:>12}  {step.file}"

    def _line(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
