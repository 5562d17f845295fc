"""Recordings and outputs, for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.recorder.output import State
from server.recorder.outputs import Outputs
from server.recorder.record import Reason
from server.recorder.recorder import Recorder


class RecorderFigures(Collector):
    def __init__(self, recorder: Recorder, outputs: Outputs) -> None:
        self._recorder = recorder
        self._outputs = outputs

    def collect(self) -> Iterator[Metric]:
        recorder = self._recorder
        yield GaugeMetricFamily("lectern_recordings_running", "Sessions that are recorded.", recorder.running)
        yield GaugeMetricFamily("lectern_recordings_bytes", "Disk that recordings take.", recorder.bytes)
        ended = CounterMetricFamily("lectern_recordings_ended", "Recordings ended, by reason.", labels=["reason"])
        for reason in get_args(Reason):
            ended.add_metric([reason], recorder.ended[reason])
        yield ended
        states = Counter(output.state for output in self._outputs.all())
        outputs = GaugeMetricFamily("lectern_outputs", "Outputs to RTMP and WHIP servers.", labels=["state"])
        for state in get_args(State):
            outputs.add_metric([state], states[state])
        yield outputs
