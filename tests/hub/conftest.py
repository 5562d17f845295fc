"""A stand-in hub for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hub.stand_in import StandInHub


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    hub = StandInHub()
    hub.start()
    yield hub
    hub.stop()
