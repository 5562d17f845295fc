"""Small helpers of the operator's tests."""

from __future__ import annotations

from tests.rtc.clients import until

__all__ = ["until"]
