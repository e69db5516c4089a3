"""The table of requirements and the tests name each other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.requirements import REQUIREMENTS

HERE = Path(__file__).parent
ID = re.compile(
    r"\b(?:TUS-[A-Z]{3,4}-\d\d|RUFH-(?:[A-Z]{3}|104)-\d\d|(?:HTTP|CORS|SEC)-[A-Z0-9]{2,})\b"
)


def documented_tests() -> Iterator[tuple[str, str]]:
    """Name and docstring of every test beside this file."""
    for path in sorted(HERE.glob("test_*.py")):
        if path == Path(__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("test_"):
                yield f"{path.name}::{node.name}", ast.get_docstring(node) or ""


TESTS = dict(documented_tests())


@pytest.mark.parametrize("requirement", sorted(REQUIREMENTS))
def test_every_requirement_is_shown(requirement: str) -> None:
    """A requirement of the table is named by at least one test."""
    assert any(requirement in ID.findall(text) for text in TESTS.values())


@pytest.mark.parametrize("name", sorted(TESTS))
def test_every_test_shows_something_required(name: str) -> None:
    """A test names what it shows, and nothing that the table does not have."""
    named = set(ID.findall(TESTS[name]))
    assert named
    assert named <= REQUIREMENTS.keys()
