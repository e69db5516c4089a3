"""What the tests of this folder run on is what they say."""

import ast
from pathlib import Path

import pytest

from tests.e2e.installations import RUNS_ONCE, Installation, servers_of, serving
from tests.support import tus

HERE = Path(__file__).parent


@pytest.mark.parametrize("entry", RUNS_ONCE)
def test_what_runs_once_exists(entry: str) -> None:
    """A test that was renamed must not leave its exception behind."""
    file, _, test = entry.partition("::")
    tree = ast.parse((HERE / file).read_text())
    functions = {
        node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
    }
    assert not test or test in functions


async def test_a_fleet_has_machines_that_are_asked_in_turn(
    tmp_path: Path, installation: Installation
) -> None:
    """Three of them, and one who does nothing but ask comes to each; one server is one."""
    async with serving(tmp_path) as service:
        machines = servers_of(service)
        assert len(machines) == (3 if installation == "fleet" else 1)
        for number in range(len(machines)):
            unknown = f"{service.endpoint}{'0' * 32}"
            asked = await tus.head(unknown, headers={"X-Request-ID": f"turn-{number}"})
            assert asked.status == 404
        for machine in machines:
            await machine.logged(lambda one: str(one.get("request_id")).startswith("turn-"))
