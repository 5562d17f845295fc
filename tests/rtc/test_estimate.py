from __future__ import annotations

from server.rtc.estimate import BandwidthLimit


class Wire:
    """Sends at a rate and reports an estimate five times a second, as Chromium does."""

    def __init__(self) -> None:
        self.limit = BandwidthLimit()
        self.now = 0.0

    def run(self, seconds: float, *, rate: float, remb: float, loss: float = 0.0) -> int | None:
        given = None
        self.limit.lost(loss)
        for _ in range(round(seconds * 5)):
            self.now += 0.2
            self.limit.sent(round(rate * 1e6 * 0.2 / 8))
            given = self.limit.estimated(round(remb * 1e6), self.now)
        return given


def test_a_quiet_picture_is_no_full_network() -> None:
    wire = Wire()
    assert wire.run(1.2, rate=0.46, remb=0.38) is None, "as Chromium begins on loopback"
    assert wire.run(10, rate=0.46, remb=0.6) is None
    assert wire.run(10, rate=2.5, remb=2.4) is None


def test_a_full_network_lowers_the_limit_after_two_seconds() -> None:
    wire = Wire()
    assert wire.run(3, rate=2.5, remb=2.6) is None
    assert wire.run(1.8, rate=2.5, remb=1.2) is None
    assert wire.run(0.6, rate=2.5, remb=1.2) == 1_200_000


def test_with_losses_it_is_lowered_at_once() -> None:
    wire = Wire()
    wire.run(3, rate=2.5, remb=2.6)
    assert wire.run(0.2, rate=2.5, remb=1.2, loss=0.05) == 1_200_000


def test_a_keyframe_is_a_burst_and_no_full_network() -> None:
    wire = Wire()
    wire.run(3, rate=0.5, remb=0.7)
    wire.limit.sent(100_000)
    assert wire.run(5, rate=0.5, remb=0.7) is None


def test_the_limit_rises_with_the_estimate_and_a_quiet_picture_keeps_it() -> None:
    wire = Wire()
    wire.run(3, rate=2.5, remb=1.0, loss=0.1)
    assert wire.run(3, rate=1.0, remb=1.4) == 1_400_000
    assert wire.run(20, rate=0.4, remb=0.6) == 1_400_000
    assert wire.run(3, rate=1.4, remb=2.0) == 2_000_000


def test_it_falls_again_when_the_network_gets_worse() -> None:
    wire = Wire()
    wire.run(3, rate=2.5, remb=1.0, loss=0.1)
    assert wire.run(4, rate=1.0, remb=0.5) == 500_000
