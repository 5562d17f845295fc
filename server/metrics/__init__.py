"""Figures for Prometheus: counted as things happen, and the state of everything when it is asked for."""

from server.metrics.metrics import CONTENT_TYPE, Metrics

__all__ = ["CONTENT_TYPE", "Metrics"]
