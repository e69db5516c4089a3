"""The table for people says what the tests show, and of every client."""

import json
import re

from tests.interop.clients import NodeClient
from tests.interop.table import COLUMNS, build_lines, build_table
from tests.interop.zoo import BY_CHANCE, CANNOT, TRIALS
from tests.support.clients import CLIENTS


def test_no_two_trials_are_the_same() -> None:
    """Their names are what results are kept under."""
    names = [str(trial) for trial in TRIALS]
    assert len(names) == len(set(names))


def test_what_a_client_cannot_do_is_tried() -> None:
    """Each fault that is told of is shown by a trial, but those that come by chance."""
    tried = {(trial.client, trial.way.name, trial.case) for trial in TRIALS}
    assert CANNOT.keys() <= tried
    assert not BY_CHANCE.keys() & tried


def test_every_library_is_part_of_the_daily_choice_but_those_that_are_built() -> None:
    """``make test`` sees each one that needs no compiler."""
    daily = {trial.client.name for trial in TRIALS if trial.is_daily}
    rest = {trial.client.name for trial in TRIALS} - daily
    assert rest == {"tus-java-client", "tus_client"}


def test_the_table_has_each_client_each_case_and_each_reason() -> None:
    """And a row is as long as the head."""
    rows = [line for line in build_table().splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert len(rows) == 2 + len({trial.client for trial in TRIALS})
    shown = {case for _, cases in COLUMNS for case in cases}
    assert {trial.case for trial in TRIALS} <= shown
    assert all(cannot.why in build_table() for cannot in CANNOT.values())


def test_the_versions_are_those_of_the_locks() -> None:
    """What npm's manifest asks for is what the table says."""
    manifest = json.loads((CLIENTS / "package.json").read_text())["dependencies"]
    for client in {trial.client for trial in TRIALS}:
        if isinstance(client, NodeClient):
            asked = manifest[f"tus-js-client-{client.major}"]
            assert asked == f"npm:tus-js-client@{client.version}"
        assert re.match(r"\d+\.\d+", client.version)


def test_what_failed_is_told() -> None:
    """A run's summary names what a client did not do."""
    trial = TRIALS[0]
    assert "NOT" not in build_lines({str(trial): "passed"})[0]
    assert f"NOT: {trial.case.__doc__}" in build_lines({str(trial): "failed"})[0]
