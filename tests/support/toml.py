"""Writes settings as TOML; the standard library only reads it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def build_toml(settings: Mapping[str, Any]) -> str:
    """Tables of scalars, lists and further tables; a list of tables becomes ``[[name]]``."""
    return "\n".join(_table(settings, ())) + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for name, value in table.items():
        if not _is_table(value) and not _is_list_of_tables(value) and value is not None:
            yield f"{json.dumps(name)} = {_value(value)}"
    for name, value in table.items():
        inner = (*path, name)
        header = ".".join(json.dumps(part) for part in inner)
        if _is_table(value):
            yield f"[{header}]"
            yield from _table(value, inner)
        elif _is_list_of_tables(value):
            for entry in value:
                yield f"[[{header}]]"
                yield from _table(entry, inner)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_list_of_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_table(entry) for entry in value)


def _value(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(entry) for entry in value) + "]"
    # JSON's strings are TOML's, save that TOML wants DEL escaped too.
    return json.dumps(str(value)).replace("\x7f", "\\u007f")
