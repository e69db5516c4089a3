"""Every rule of the house over every file it is for."""

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import pytest

import tusd_py
from tests.house import habits, layers, source
from tests.house.allowed import ALLOWED
from tests.house.source import Finding, Source

Rule = Callable[[Source], Iterable[Finding]]


def _everything() -> list[Source]:
    return list(source.files())


def _python() -> list[Source]:
    return source.package() + source.tests()


RULES: Final[list[tuple[Rule, Callable[[], list[Source]]]]] = [
    (layers.has_its_row, source.package),
    (layers.imports_point_downward, source.package),
    (layers.pure_layers_need_only_the_standard_library, source.package),
    (layers.the_web_framework_stays_in_web, source.package),
    (layers.pure_layers_never_wait, source.package),
    (layers.core_has_neither_clock_nor_dice, source.package),
    (habits.opens_with_a_docstring, _python),
    (habits.is_small, source.package),
    (habits.swallows_no_error, _python),
    (habits.leaves_nothing_undone, source.package),
    (habits.names_no_machine, _everything),
    (habits.has_its_place, _everything),
    (habits.skips_nothing, source.tests),
    (habits.waits_for_events_not_for_time, source.tests),
]


def _findings(rule: Rule, sources: Iterable[Source]) -> Iterator[Finding]:
    for one in sources:
        yield from rule(one)


def _report(findings: Iterable[object]) -> str:
    return "\n  ".join(["", *map(str, findings)])


@pytest.mark.parametrize(("rule", "sources"), RULES, ids=[rule.__name__ for rule, _ in RULES])
def test_the_rule_is_kept(rule: Rule, sources: Callable[[], list[Source]]) -> None:
    findings = [
        finding
        for finding in _findings(rule, sources())
        if (rule.__name__, finding.path) not in ALLOWED
    ]
    assert not findings, _report(findings)


def test_every_exception_is_still_needed() -> None:
    broken = {
        (rule.__name__, finding.path)
        for rule, sources in RULES
        for finding in _findings(rule, sources())
    }
    assert not (stale := ALLOWED.keys() - broken), _report(stale)
    assert all(reason.strip() for reason in ALLOWED.values())


def test_every_folder_of_python_is_a_package() -> None:
    # mypy and `python -m tests.bench` need it; a folder without one is silently another module.
    paths = {PurePosixPath(one.path) for one in _python()}
    lacking = {path.parent for path in paths} - {
        path.parent for path in paths if path.name == "__init__.py"
    }
    assert not lacking, _report(lacking)


def _pins(name: str) -> set[str]:
    text = (source.ROOT / "conf" / "requirements" / name).read_text()
    return set(re.findall(r"^([\w.-]+==[\w.]+)", text, re.MULTILINE))


def test_the_locks_agree() -> None:
    assert _pins("runtime.txt") | _pins("build.txt") <= _pins("dev.txt")


@pytest.mark.parametrize("name", ["runtime.txt", "build.txt", "dev.txt"])
def test_every_locked_package_has_a_hash_and_no_address(name: str) -> None:
    text = (source.ROOT / "conf" / "requirements" / name).read_text()
    entries = [entry for entry in re.split(r"^(?=[\w])", text, flags=re.MULTILINE) if entry.strip()]
    assert entries
    assert not [entry for entry in entries if "--hash=sha256:" not in entry]
    assert "://" not in text
    assert not re.search(r"^\s*--?(?!hash)\w", text, re.MULTILINE)


def test_the_version_is_said_alike_in_both_places() -> None:
    project = tomllib.loads((source.ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == tusd_py.__version__


def test_the_map_in_the_package_names_every_module() -> None:
    """The first page a reader sees is the house as it is, not as it was."""
    package = Path(tusd_py.__file__).parent
    there = {p.stem for p in package.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    text = (package / "__init__.py").read_text()
    named = set(re.findall(r"^``(\w+)`` +\S", text, re.MULTILINE))
    assert named == {name for name in there if not name.startswith("__")}
