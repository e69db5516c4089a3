"""Some of the suites run on each state store."""

import pytest

from tests.service.backends import BACKENDS
from tests.service.world import World


@pytest.fixture(params=sorted(BACKENDS))
def each_state(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All worlds of the test have this state store."""
    monkeypatch.setattr(World, "usual_backend", request.param)
