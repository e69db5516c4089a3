"""A pytest plug-in: every trial instead of the daily choice, and at the end what was seen."""

import pytest
from _pytest.terminal import TerminalReporter

from tests.interop.table import build_lines


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole-zoo", action="store_true", help="every client in every case")


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    seen: dict[str, str] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties:
                if name == "trial":
                    seen[str(value)] = outcome
    if seen:
        terminalreporter.section("what was seen")
        for line in build_lines(seen):
            terminalreporter.write_line(line)
