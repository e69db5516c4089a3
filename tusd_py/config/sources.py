"""Where settings come from: a TOML file, the environment, flags; each value with its origin.

Nothing is judged here but the form: what a key means and whether it exists is ``build``'s to say.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

PREFIX: Final = "TUSD_PY_"
FILE_VARIABLE: Final = PREFIX + "CONFIG"
DATA_DIR_VARIABLE: Final = PREFIX + "DATA_DIR"
DEFAULT_FILE: Final = Path("tusd.toml")


class ConfigError(Exception):
    """Settings that cannot be used; one sentence for each thing that is wrong."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Given:
    """A value as somebody wrote it, and where."""

    value: Any = field(repr=False)
    origin: str
    """A file's path, a variable's name or a flag."""
    line: int | None = None
    is_text: bool = False
    """From the environment or a flag: a list or a number is still text."""


Section = dict[str, Given]


@dataclass(slots=True)
class Collected:
    """All that was given, the strongest source winning: flag, environment, file."""

    sections: dict[str, Section] = field(default_factory=dict)
    hooks: list[Section] = field(default_factory=list)
    top: Section = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def give(self, section: str, key: str, given: Given) -> None:
        self.sections.setdefault(section, {})[key] = given

    def to_json(self) -> str:
        """For another process of this server. It holds secrets: no file, no argument."""
        return json.dumps(
            {
                "top": _pack(self.top),
                "sections": {name: _pack(section) for name, section in self.sections.items()},
                "hooks": [_pack(hook) for hook in self.hooks],
            },
            default=str,
        )

    @classmethod
    def from_json(cls, text: str) -> "Collected":
        packed = json.loads(text)
        return cls(
            sections={name: _unpack(section) for name, section in packed["sections"].items()},
            hooks=[_unpack(hook) for hook in packed["hooks"]],
            top=_unpack(packed["top"]),
        )


def _pack(section: Section) -> dict[str, list[Any]]:
    return {k: [g.value, g.origin, g.line, g.is_text] for k, g in section.items()}


def _unpack(packed: Mapping[str, list[Any]]) -> Section:
    return {key: Given(*values) for key, values in packed.items()}


def choose_file(named: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The file to read: the flag's, the environment's, ./tusd.toml if it is there, else none."""
    if named is not None:
        return named
    if text := environment.get(FILE_VARIABLE):
        return Path(text)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def read_file(collected: Collected, file: Path) -> None:
    """Add what the file says. Raises ConfigError where it cannot be read at all."""
    try:
        text = file.read_text("utf-8")
        document = tomllib.loads(text)
    except OSError as exc:
        raise ConfigError([f"{file}: cannot be read: {exc.strerror}"]) from exc
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigError([f"{file}: is not TOML: {exc}"]) from exc
    lines = _find_lines(text)
    for name, content in document.items():
        if name == "hooks":
            _read_hooks(collected, content, str(file), lines)
        elif isinstance(content, dict):
            section = collected.sections.setdefault(name, {})
            for key, value in content.items():
                section[key] = Given(value, str(file), lines.get((name, key)))
        else:
            collected.top[name] = Given(content, str(file), lines.get(("", name)))


def _read_hooks(
    collected: Collected, content: Any, origin: str, lines: Mapping[tuple[str, str], int]
) -> None:
    tables = content if isinstance(content, list) else [None]
    if not all(isinstance(table, dict) for table in tables):
        collected.problems.append(f"{origin}: hooks are written as tables, each under [[hooks]]")
        return
    for number, table in enumerate(tables, 1):
        hook = {
            key: Given(value, origin, lines.get((f"hooks.{number}", key)))
            for key, value in table.items()
        }
        collected.hooks.append(hook)


_HEADER = re.compile(r"\s*\[(\[)?\s*([\w.-]+)\s*\]")
_KEY = re.compile(r"""\s*["']?([\w-]+)["']?\s*=""")


def _find_lines(text: str) -> dict[tuple[str, str], int]:
    """On which line a key stands: good enough for a hint, not a parser."""
    found: dict[tuple[str, str], int] = {}
    section, hooks = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            section = header[2]
            if header[1] and section == "hooks":
                hooks += 1
                section = f"hooks.{hooks}"
        elif key := _KEY.match(line):
            found.setdefault((section, key[1]), number)
    return found


def read_environment(
    collected: Collected, environment: Mapping[str, str], sections: Sequence[str]
) -> None:
    """Add every ``TUSD_PY_…`` variable. ``TUSD_PY_HOOKS`` is a JSON list of all hooks, and
    ``TUSD_PY_HOOKS_<NAME>_<KEY>`` sets one key of the hook of that name."""
    if (whole := environment.get(PREFIX + "HOOKS")) is not None:
        _read_hooks_text(collected, whole, PREFIX + "HOOKS")
    for variable, text in sorted(environment.items()):
        if not variable.startswith(PREFIX) or variable in (FILE_VARIABLE, PREFIX + "HOOKS"):
            continue
        given = Given(text, variable, is_text=True)
        rest = variable.removeprefix(PREFIX).lower()
        if variable == DATA_DIR_VARIABLE:
            collected.top["data_dir"] = given
        elif rest.startswith("hooks_"):
            _read_hook_variable(collected, rest.removeprefix("hooks_"), given)
        else:
            name, _, key = rest.partition("_")
            if name in sections and key:
                collected.give(name, key, given)
            else:
                collected.top[variable] = given


def _read_hook_variable(collected: Collected, rest: str, given: Given) -> None:
    for hook in collected.hooks:
        if "name" not in hook:
            continue
        name = re.sub(r"\W", "_", str(hook["name"].value).lower())
        if rest.startswith(name + "_"):
            hook[rest.removeprefix(name + "_")] = given
            return
    collected.problems.append(f"{given.origin}: names no hook that is configured")


def _read_hooks_text(collected: Collected, text: str, origin: str) -> None:
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        collected.problems.append(f"{origin}: must be a JSON list of hooks")
        return
    collected.hooks.clear()
    _read_hooks(collected, content, origin, {})


def read_flags(collected: Collected, flags: Mapping[str, str]) -> None:
    """Add ``{"http.port": "1080", "data-dir": …, "hooks": …}`` as they stood on the command line
    (without the dashes before)."""
    for flag, text in flags.items():
        given = Given(text, f"--{flag}", is_text=True)
        section, dot, key = flag.replace("-", "_").partition(".")
        if flag == "hooks":
            _read_hooks_text(collected, text, given.origin)
        elif dot:
            collected.give(section, key, given)
        else:
            collected.top[section] = given
