"""How far a fetched file is, as it is printed."""

from __future__ import annotations

import io

import pytest

from pipeline.hub.fetch import Step
from server import fetch_bars


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(100))
    monkeypatch.setattr(fetch_bars.time, "monotonic", lambda: float(next(now)))
    for out in (_Terminal(), io.StringIO()):
        bars = fetch_bars.FetchBars(out)
        for done in range(0, 3_000_001, 500_000):
            bars.show(Step("unet.pth", done, 3_000_000))
        bars.show(Step("unet.pth", 3_000_000, 3_000_000, "fetched", over=True))
        bars.end()
        said = out.getvalue()
        if out.isatty():
            assert "[############            ]  50% of     3 MB     500 kB/s  unet.pth" in said
            assert said.endswith("unet.pth: fetched\n")
        else:
            shares = [line.split()[1] for line in said.splitlines()]
            assert shares == ["0%", "33%", "50%", "83%", "100%", "fetched"]
