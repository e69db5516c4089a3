"""Every trial of the zoo, or the daily choice of it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.interop.place import Place, opened_place
from tests.interop.zoo import CANNOT, SILENT, TRIALS, Trial


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "trial" in metafunc.fixturenames:
        # The option is there where tests.interop.whole was loaded.
        is_whole = metafunc.config.getoption("whole_zoo", False)
        chosen = [trial for trial in TRIALS if trial.is_daily or is_whole]
        metafunc.parametrize("trial", chosen, ids=str)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with opened_place(tmp_path) as place:
        yield place


async def test_the_client(
    place: Place, trial: Trial, record_property: Callable[[str, object], None]
) -> None:
    """It does what its case says; what it cannot do, it still cannot, in the way that we know."""
    record_property("trial", str(trial))
    cannot = CANNOT.get((trial.client, trial.way.name, trial.case))
    if cannot is None:
        await trial.case(place, trial.client, trial.way)
        return
    with pytest.raises(AssertionError) as caught:
        await trial.case(place, trial.client, trial.way)
    story = str(caught.value)
    if cannot.says is SILENT:
        assert '"event": "success"' not in story and '"event": "error"' not in story, story
    else:
        assert cannot.says in story, story
