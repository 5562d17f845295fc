from __future__ import annotations

from pipeline.media import VideoSettings
from pipeline.rate_control import RateControl

SETTINGS = VideoSettings()  # 2.5 Mbit/s, 0.6 .. 4


class Wire:
    """Sends pictures at a rate and reports an estimate five times a second, as Chromium does."""

    def __init__(self) -> None:
        self.control = RateControl(SETTINGS)
        self.now = 100.0
        self.bitrates: list[int] = []

    def run(self, seconds: float, *, rate: float, growth: float = 1.0, **estimates: float) -> int:
        """Rates and estimates in Mbit/s; growth of the estimates a second."""
        for step in range(round(seconds * 25)):
            self.now += 0.04
            self.control.sent(self.now, round(rate * 1e6 / 8 / 25))
            if step % 5 == 0:
                for viewer, estimate in estimates.items():
                    grown = estimate * growth ** (step / 25)
                    self.bitrates.append(self.control.report(viewer, round(grown * 1e6), self.now))
        return self.control.bitrate


def test_the_estimate_of_a_quiet_picture_does_not_lower_the_bitrate() -> None:
    wire = Wire()
    assert wire.run(2, rate=0.46, a=0.38, growth=1.08) == 2_500_000, "as Chromium begins on loopback"
    assert wire.run(20, rate=0.46, a=0.46) == 2_500_000


def test_a_picture_that_becomes_lively_is_not_taken_for_a_full_network() -> None:
    wire = Wire()
    wire.run(10, rate=0.46, a=0.69)
    assert wire.run(10, rate=1.5, a=0.69, growth=1.08) == 2_500_000


def test_a_full_network_lowers_the_bitrate_within_three_seconds_to_what_it_takes() -> None:
    wire = Wire()
    assert wire.run(3, rate=2.5, a=1.2) < 1_200_000
    assert wire.control.bitrate > 900_000


def test_never_below_the_floor() -> None:
    wire = Wire()
    assert wire.run(5, rate=2.5, a=0.05) == 600_000


def test_the_weakest_viewer_governs_until_it_leaves() -> None:
    wire = Wire()
    assert wire.run(3, rate=2.5, strong=6.0, weak=1.2) < 1_200_000
    wire.control.gone("weak", wire.now)
    assert wire.run(20, rate=1.0, strong=6.0) > 2_500_000


def test_a_network_that_recovers_gets_more_in_steps_and_never_more_than_the_ceiling() -> None:
    wire = Wire()
    low = wire.run(3, rate=2.5, a=1.2)
    wire.bitrates.clear()
    assert 3_600_000 < wire.run(30, rate=1.0, a=8.0) <= 4_000_000
    changes = sorted(set(wire.bitrates))
    assert all(after <= before * 1.26 for before, after in zip([low, *changes], changes, strict=False))


def test_small_changes_of_an_estimate_change_nothing() -> None:
    wire = Wire()
    bitrate = wire.run(3, rate=2.5, a=1.2)
    for estimate in (1.21, 1.17, 1.22, 1.18) * 5:
        assert wire.run(0.4, rate=1.0, a=estimate) == bitrate
