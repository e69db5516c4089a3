"""What holds for every test: no blocking call in the event loop, and Hypothesis' settings."""

import gc
import os
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    # A loaded machine is slow, not wrong: the time limit is the one of each test.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize=False,
    max_examples=100,
)
settings.register_profile(  # make fuzz
    "long",
    parent=settings.get_profile("ci"),
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "20000")),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_finish() -> None:
    """Ten thousand tests are not looked through again and again: a look at all of them stops the
    loop for half a second, and servers wait meanwhile."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def blocking_calls_fail() -> Iterator[BlockBuster]:
    """Fail where tusd_py itself blocks the event loop; tests and their servers may."""
    with blockbuster_ctx(scanned_modules=["tusd_py"]) as blockbuster:
        yield blockbuster
