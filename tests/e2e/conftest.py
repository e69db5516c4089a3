"""Each test runs on every installation that it is about."""

from collections.abc import Iterator

import pytest

from tests.e2e import installations


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    node = metafunc.definition
    group = node.get_closest_marker("xdist_group")
    found = installations.installations_of(node.path.name, node.originalname)
    chosen = [
        # Whoever shares a server shares a worker: those that share a fleet may be another one.
        pytest.param(one, marks=[pytest.mark.xdist_group(one)] if group else [])
        for one in found
    ]
    if len(chosen) > 1:
        metafunc.parametrize("installation", chosen, indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def installation(request: pytest.FixtureRequest) -> installations.Installation:
    """What this test runs on."""
    chosen: installations.Installation = getattr(request, "param", "one")
    installations.settle_on(chosen)
    return chosen


@pytest.fixture(scope="session", autouse=True)
def redis_ends() -> Iterator[None]:
    """The Redis of all fleets of this process ends with it."""
    yield
    installations.forget_redis()
