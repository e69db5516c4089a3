"""Who may import whom. A new package or top module of tusd_py gets its row here."""

import ast
import sys
from collections.abc import Iterator
from typing import Final

from tests.house.source import Finding, Source

CONTRACTS: Final = {
    "auth.base",
    "hooks.base",
    "sources.base",
    "state.base",
    "state.moving",
    "state.quotas",
    "stores.base",
}
BACK_END: Final = {"core", "streams", "settings"}
ANYTHING: Final = None

# What a layer may import of tusd_py, besides itself.
MAY_IMPORT: Final[dict[str, set[str] | None]] = {
    "core": set(),
    "digests": {"core"},
    "streams": {"core"},
    "settings": {"core"},
    "announce": set(),
    "host": {"core"},
    "logs": {"core", "settings"},
    "metrics": {"core", "streams", "state.base"},
    "protocol": {"core"},
    "stores": BACK_END | {"digests"},
    "state": BACK_END,
    "hooks": BACK_END,
    "sources": BACK_END,
    "auth": BACK_END,
    "service": {"core", "digests", "streams", "settings"} | CONTRACTS,
    "web": {"core", "protocol", "service", "streams", "settings"} | CONTRACTS,
    # The composition root and the command line.
    "__init__": ANYTHING,
    "__main__": ANYTHING,
    "cli": ANYTHING,
    "compose": ANYTHING,
    "config": ANYTHING,
    "registry": ANYTHING,
    "server": ANYTHING,
    "supervisor": ANYTHING,
}
# Pure layers, and the libraries they may use besides the standard one: pure themselves.
PURE: Final[dict[str, set[str]]] = {"core": set(), "protocol": {"http_sf"}}
WITHOUT_WAITING: Final = {"core", "protocol"}
WITHOUT_AIOHTTP: Final = {"core", "protocol", "streams", "service", "settings"}
# The pure core is told the time and given its randomness; it neither logs nor asks the system.
NOT_IN_CORE: Final = {"logging", "os", "random", "secrets", "time"}
CLOCKS_AND_DICE: Final = {"now", "today", "utcnow", "uuid1", "uuid4", "urandom"}


def layer(source: Source) -> str:
    return source.parts[1] if len(source.parts) > 1 else "__init__"


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Every name a file imports, with its line: ``from a.b import c`` is ``a.b.c``."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(source, node)
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    up = node.level - 1 if source.is_package else node.level
    folder = source.parts[: len(source.parts) - up]
    return ".".join((*folder, *filter(None, [node.module])))


def _is_within(name: str, *modules: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def has_its_row(source: Source) -> Iterator[Finding]:
    if (here := layer(source)) not in MAY_IMPORT:
        yield source.at(1, f"{here} has no row in the table of layers (tests/house/layers.py)")


def imports_point_downward(source: Source) -> Iterator[Finding]:
    here = layer(source)
    if (others := MAY_IMPORT.get(here)) is ANYTHING:
        return
    for line, name in imports(source):
        if not _is_within(name, "tusd_py"):
            continue
        inner = name.removeprefix("tusd_py").removeprefix(".")
        if not _is_within(inner, here, "__version__", *others):
            yield source.at(line, f"{here} may not import {name}")


def pure_layers_need_only_the_standard_library(source: Source) -> Iterator[Finding]:
    if (here := layer(source)) not in PURE:
        return
    for line, name in imports(source):
        top = name.partition(".")[0]
        if top not in {"tusd_py", *sys.stdlib_module_names, *PURE[here]}:
            yield source.at(line, f"{here} may not import {name}: not known to be pure")


def the_web_framework_stays_in_web(source: Source) -> Iterator[Finding]:
    here = layer(source)
    for line, name in imports(source):
        if here != "web" and name.startswith("aiohttp.web"):
            yield source.at(line, f"{name} belongs into web/")
        elif here in WITHOUT_AIOHTTP and _is_within(name, "aiohttp"):
            yield source.at(line, f"{here} knows no aiohttp")
    for node in ast.walk(source.tree):
        match node:
            case ast.Attribute(attr="web", value=ast.Name(id="aiohttp")) if here != "web":
                yield source.at(node.lineno, "aiohttp.web belongs into web/")
            case _:
                pass


def pure_layers_never_wait(source: Source) -> Iterator[Finding]:
    if (here := layer(source)) not in WITHOUT_WAITING:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield source.at(node.lineno, f"{here} may not wait ({type(node).__name__})")
        elif isinstance(node, ast.comprehension) and node.is_async:
            yield source.at(node.target.lineno, f"{here} may not wait (async comprehension)")


def core_has_neither_clock_nor_dice(source: Source) -> Iterator[Finding]:
    if layer(source) != "core":
        return
    for line, name in imports(source):
        if _is_within(name, *NOT_IN_CORE) or name.rpartition(".")[2] in CLOCKS_AND_DICE:
            yield source.at(line, f"core may not import {name}")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS_AND_DICE:
            yield source.at(node.lineno, f"core may not ask for .{node.attr}: hand it in")
