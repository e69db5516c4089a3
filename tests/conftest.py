"""What holds for every test: no blocking call in the event loop, and Hypothesis' settings."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

UNIT = Path(__file__).parent / "unit"

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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """asyncio's debug mode finds calls from wrong threads; it takes a third of the time of what
    works a lot, and what is in there is all met by the tests of units."""
    item.config.option.asyncio_debug = item.path.is_relative_to(UNIT) or None


@pytest.fixture(autouse=True)
def blocking_calls_fail() -> Iterator[BlockBuster]:
    """Fail where tusd_py itself blocks the event loop; tests and their servers may."""
    with blockbuster_ctx(scanned_modules=["tusd_py"]) as blockbuster:
        yield blockbuster
