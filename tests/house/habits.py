"""How a file is written, whatever its layer."""

import ast
import re
from collections.abc import Iterator
from typing import Final, TypeGuard

from tests.house.source import Finding, Source

MAX_FILE_LINES: Final = 400
MAX_FUNCTION_LINES: Final = 60
TOP_LEVEL: Final = {
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "conf",
    "pyproject.toml",
    "tests",
    "tusd_py",
}
# Written so that this file does not find itself.
ADDRESSES: Final = {
    "the address of a package registry": re.compile(
        r"pypi[.]org|pythonhosted[.]org|registry[.]npmjs|registry[.]yarnpkg|index[.]crates[.]io"
        r"|static[.]crates[.]io|proxy[.]golang[.]org|deb[.]debian[.]org"
        r"|[-](?:extra-)?index[-]url[ =]\S*/|[-]find[-]links[ =]\S*/",
    ),
    "a resolved download": re.compile(r'["]resolved["]\s*:|^resolved\s*=', re.MULTILINE),
    "a path of one machine": re.compile(r"(?<![\w.*])/(?:work|root|home)[/]\w"),
}
UNDONE: Final = re.compile(r"\b(?:TODO|FIXME|XXX)\b")
WAITING_ALLOWED: Final = ("tests/bench/", "tests/chaos/", "tests/support/")
SKIPS: Final = {"skip", "skipif", "xfail", "importorskip", "skipTest", "skipIf", "skipUnless"}

FUNCTION: Final = (ast.FunctionDef, ast.AsyncFunctionDef)


def opens_with_a_docstring(source: Source) -> Iterator[Finding]:
    is_empty = not source.text.strip()
    if not (ast.get_docstring(source.tree) or is_empty):
        yield source.at(1, "no docstring tells what this module holds")


def is_small(source: Source) -> Iterator[Finding]:
    if (lines := len(source.text.splitlines())) > MAX_FILE_LINES:
        yield source.at(MAX_FILE_LINES, f"{lines} lines, more than {MAX_FILE_LINES}")
    for node in ast.walk(source.tree):
        if isinstance(node, FUNCTION):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                what = f"{node.name} has {lines} lines, more than {MAX_FUNCTION_LINES}"
                yield source.at(node.lineno, what)


def swallows_no_error(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type):
            if all(_does_nothing(statement) for statement in node.body):
                yield source.at(node.lineno, "catches everything and does nothing about it")
        elif _is_call_of(node, "suppress") and any(map(_is_broad, node.args)):
            yield source.at(node.lineno, "suppresses everything")


def _is_call_of(node: ast.AST, name: str) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and _last_name(node.func) == name


def _is_broad(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(_is_broad(one) for one in caught.elts)
    return caught is None or _last_name(caught) in {"Exception", "BaseException"}


def _does_nothing(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Continue() | ast.Break() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Return(value=value):
            return value is None or isinstance(value, ast.Constant)
        case _:
            return False


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def leaves_nothing_undone(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if found := UNDONE.search(line):
            yield source.at(number, f"{found[0]}: do it, or write an issue")


def names_no_machine(source: Source) -> Iterator[Finding]:
    for what, pattern in ADDRESSES.items():
        for found in pattern.finditer(source.text):
            line = source.text.count("\n", 0, found.start()) + 1
            yield source.at(line, f"{what}: {found[0]}")


def has_its_place(source: Source) -> Iterator[Finding]:
    top = source.path.partition("/")[0]
    if top not in TOP_LEVEL and not top.startswith("."):
        yield source.at(1, f"{top} is not among what the top level holds")


def skips_nothing(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr in SKIPS:
            # pytest.skip, pytest.mark.skip, unittest.skip; not a .skip() of our own.
            if _last_name(node.value) in {"pytest", "mark", "unittest"}:
                yield source.at(node.lineno, f"{node.attr}: a test runs, or it is not there")
        elif isinstance(node, ast.ImportFrom) and node.module in {"pytest", "unittest"}:
            for alias in node.names:
                if alias.name in SKIPS:
                    yield source.at(node.lineno, f"{alias.name}: a test runs, or it is not there")


def waits_for_events_not_for_time(source: Source) -> Iterator[Finding]:
    if source.path.startswith(WAITING_ALLOWED):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.module in {"time", "asyncio"}:
            if any(alias.name == "sleep" for alias in node.names):
                yield source.at(node.lineno, "import the module, so that a sleep can be seen")
        elif _is_call_of(node, "sleep") and isinstance(node.func, ast.Attribute):
            module = _last_name(node.func.value)
            if module == "time" or (module == "asyncio" and _is_some_time(node.args)):
                what = f"{module}.sleep in a test: wait for what should happen"
                yield source.at(node.lineno, what)


def _is_some_time(arguments: list[ast.expr]) -> bool:
    return any(isinstance(one, ast.Constant) and one.value != 0 for one in arguments[:1])
