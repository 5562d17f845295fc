"""Prometheus' families out of plain values: gauges, counters, and histograms of the pipeline's distributions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from pipeline.timings import Spread

Labels = tuple[str, ...]


def gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"lectern_{name}", what, float(value))


def gauges(name: str, what: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"lectern_{name}", what, labels=[label])
    for each, value in values.items():
        family.add_metric([each], float(value))
    return family


def counter(name: str, what: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"lectern_{name}", what, float(value))


def counters(name: str, what: str, label: str, values: Mapping[str, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"lectern_{name}", what, labels=[label])
    for each, value in values.items():
        family.add_metric([each], float(value))
    return family


def histogram(name: str, what: str, spread: Spread, label: str = "", value: str = "") -> HistogramMetricFamily:
    """label, value: where it has one."""
    family = HistogramMetricFamily(f"lectern_{name}", what, labels=[label] if label else [])
    family.add_metric([value] if label else [], buckets=_buckets(spread.bounds, spread.counts), sum_value=spread.sum)
    return family


def sizes(name: str, what: str, bounds: Sequence[int], counts: Mapping[int, int]) -> HistogramMetricFamily:
    """A histogram of whole numbers, each with how often it came."""
    per_bound = [0] * (len(bounds) + 1)
    for size, count in counts.items():
        per_bound[next((at for at, bound in enumerate(bounds) if size <= bound), len(bounds))] += count
    total = float(sum(size * count for size, count in counts.items()))
    family = HistogramMetricFamily(f"lectern_{name}", what)
    family.add_metric([], buckets=_buckets(bounds, per_bound), sum_value=total)
    return family


def _buckets(bounds: Iterable[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus wants them."""
    out, total = [], 0
    for bound, count in zip([*map(str, map(float, bounds)), "+Inf"], counts, strict=True):
        total += count
        out.append((bound, float(total)))
    return out
