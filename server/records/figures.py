"""What the journal counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.records.journal import Journal


class JournalFigures(Collector):
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def collect(self) -> Iterator[Metric]:
        journal = self._journal
        yield GaugeMetricFamily("lectern_records_waiting", "Entries on their way to the database.", journal.waiting)
        yield CounterMetricFamily("lectern_records_written", "Entries written to the database.", journal.written)
        yield CounterMetricFamily("lectern_records_lost", "Entries that could not be written.", journal.lost)
