"""The settings among the words of a command line: they are the same for every command.

``--http.port 1080``, ``--http.port=1080``; a flag without a value is ``true``, ``--no-x.y`` is
``false``. What is left is the command itself.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

GLOBAL: Final = frozenset({"config", "data-dir", "hooks"})
_SETTING = re.compile(r"--(no-)?([a-z][a-z0-9]*\.[\w-]+)(?:=(.*))?", re.ASCII | re.DOTALL)
_GLOBAL = re.compile(r"--([a-z-]+)(?:=(.*))?", re.ASCII | re.DOTALL)


class FlagWithoutValue(Exception):
    """A flag that needs a value and has none."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What of the settings stood on the command line."""

    file: Path | None = None
    values: dict[str, str] = field(default_factory=dict)
    """``{"http.port": "1080", "data-dir": …}``."""


def split_flags(words: list[str]) -> tuple[list[str], Flags]:
    """The command's own words, and the settings. Raises FlagWithoutValue."""
    rest: list[str] = []
    values: dict[str, str] = {}
    todo = list(words)
    while todo:
        word = todo.pop(0)
        if word == "--":
            rest += [word, *todo]
            break
        if (found := _SETTING.fullmatch(word)) is not None:
            values[found[2]] = _value_of_setting(found, todo)
        elif (found := _GLOBAL.fullmatch(word)) is not None and found[1] in GLOBAL:
            values[found[1]] = _value_of_global(found, todo)
        else:
            rest.append(word)
    file = values.pop("config", None)
    return rest, Flags(None if file is None else Path(file), values)


def _value_of_setting(found: re.Match[str], todo: list[str]) -> str:
    if found[3] is not None:
        return found[3]
    if found[1]:
        return "false"
    return todo.pop(0) if todo and not todo[0].startswith("--") else "true"


def _value_of_global(found: re.Match[str], todo: list[str]) -> str:
    if found[2] is not None:
        return found[2]
    if not todo or todo[0].startswith("--"):
        raise FlagWithoutValue(f"--{found[1]} needs a value")
    return todo.pop(0)
