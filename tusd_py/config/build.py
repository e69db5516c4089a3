"""From what was given to the tree: unknown keys, wrong values and missing ones are all told at
once, each with its source. A value is never shown: it may be a secret.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tusd_py import registry
from tusd_py.config import tree
from tusd_py.config.sources import PREFIX, Collected, ConfigError, Given, Section
from tusd_py.config.tree import Part, Tree
from tusd_py.settings import Settings

NONE = "none"
"""What TOML has no word for: the value of a setting that is switched off."""


def build(collected: Collected) -> Tree:
    """The tree. Raises ConfigError with everything that is wrong."""
    problems = list(collected.problems)
    data_dir = _read_top(collected, problems)
    _refuse_unknown_sections(collected, problems)
    built: dict[str, Any] = {}
    for name in tree.SECTIONS:
        built[name] = _build_section(name, collected, data_dir, problems)
    hooks = [_build_hook(number, hook, problems) for number, hook in enumerate(collected.hooks, 1)]
    _refuse_equal_names(hooks, problems)
    if problems:
        raise ConfigError(problems)
    return Tree(
        data_dir=data_dir,
        hooks=tuple(hook for hook in hooks if hook is not None),
        given=collected,
        **built,
    )


def _read_top(collected: Collected, problems: list[str]) -> Path:
    for key, given in collected.top.items():
        if key not in tree.TOP_KEYS:
            problems.append(_unknown_top(key, given))
    given_dir = collected.top.get("data_dir")
    if given_dir is None:
        return tree.DEFAULT_DATA_DIR
    if not isinstance(given_dir.value, str) or not given_dir.value:
        problems.append(f"{given_dir.origin}: data_dir must be a path")
        return tree.DEFAULT_DATA_DIR
    return Path(given_dir.value)


def _unknown_top(key: str, given: Given) -> str:
    if given.origin.startswith(PREFIX):
        names = (variable_of(name, one) for name in tree.SECTIONS for one in keys_of(name))
        known = [*names, *(PREFIX + top.upper() for top in tree.TOP_KEYS), PREFIX + "CONFIG"]
        return f"{key}: there is no such setting{_near(key, known)}"
    if given.origin.startswith("--"):
        flags = (flag_of(name, one) for name in tree.SECTIONS for one in keys_of(name))
        return f"{given.origin}: there is no such setting{_near(given.origin, flags)}"
    known = [*tree.TOP_KEYS, *tree.SECTIONS]
    return f"{given.origin}: does not know {key!r}{_near(key, known)}{_line(given)}"


def _refuse_unknown_sections(collected: Collected, problems: list[str]) -> None:
    for name, section in collected.sections.items():
        if name not in tree.SECTIONS:
            given = next(iter(section.values()), None)
            origin = given.origin if given else "configuration"
            near = _near(name, [*tree.SECTIONS, "hooks"])
            problems.append(f"{origin}: there is no section [{name}]{near}")


def _build_section(
    name: str, collected: Collected, data_dir: Path, problems: list[str]
) -> Settings | Part | None:
    section = dict(collected.sections.get(name, {}))
    if name not in tree.FAMILIES:
        return _validate(f"[{name}]", tree.fixed_model(name), section, problems)
    table, usual = tree.FAMILIES[name]
    kind = _choose_kind(f"[{name}]", section, table, usual, problems)
    if kind is None:
        return None
    known = tree.kind_model(table, kind).model_fields
    for (where, key), path in tree.IN_DATA_DIR.items():
        if where == name and key in known and key not in section:
            section[key] = Given(str(data_dir / path), "default")
    return _build_part(f"[{name}]", table, kind, section, problems)


def _build_hook(number: int, hook: Section, problems: list[str]) -> Part | None:
    name = hook.get("name")
    label = f"[[hooks]] {name.value if name else number}"
    kind = _choose_kind(label, hook, registry.HOOKS, None, problems)
    if kind is None:
        return None
    return _build_part(label, registry.HOOKS, kind, hook, problems)


def _build_part(
    label: str, table: Mapping[str, str], kind: str, section: Section, problems: list[str]
) -> Part | None:
    model = tree.kind_model(table, kind)
    if "kind" not in model.model_fields:
        section = {key: given for key, given in section.items() if key != "kind"}
    settings = _validate(label, model, section, problems, extra=("kind",))
    return None if settings is None else Part(kind, settings)


def _choose_kind(
    label: str,
    section: Section,
    table: Mapping[str, str],
    usual: str | None,
    problems: list[str],
) -> str | None:
    given = section.get("kind")
    known = ", ".join(sorted(table))
    if given is None:
        if usual is None:
            problems.append(f"{_origin_of(section)}: {label} needs 'kind' (one of {known})")
        return usual
    if not isinstance(given.value, str) or given.value not in table:
        problems.append(f"{given.origin}: {label} kind must be one of {known}{_line(given)}")
        return None
    return given.value


def _validate(
    label: str,
    model: type[Settings],
    section: Section,
    problems: list[str],
    *,
    extra: Iterable[str] = (),
) -> Settings | None:
    known = [*model.model_fields, *extra]
    unknown = [key for key in section if key not in model.model_fields]
    for key in unknown:
        given = section[key]
        near = _near(key, known)
        problems.append(f"{given.origin}: {label} does not know {key!r}{near}{_line(given)}")
    values = {
        key: _read_value(model, key, given) for key, given in section.items() if key not in unknown
    }
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        for error in exc.errors(include_url=False, include_input=False, include_context=False):
            problems.append(_tell(label, section, error["loc"], error["type"], error["msg"]))
        return None


def _tell(label: str, section: Section, loc: tuple[int | str, ...], kind: str, message: str) -> str:
    if not loc:  # keys that contradict each other
        return f"{_origin_of(section)}: {label} {_plain(message)}"
    key = str(loc[0])
    if kind == "missing" and len(loc) == 1:
        return f"{_origin_of(section)}: {label} needs {key!r}"
    given = section.get(key)
    origin = given.origin if given else "default"
    return f"{origin}: {label} {key}: {_plain(message)}{_line(given)}"


def _plain(message: str) -> str:
    text = message.removeprefix("Value error, ").removeprefix("Input ")
    return text[:1].lower() + text[1:]


def _origin_of(section: Section) -> str:
    origins = [given.origin for given in section.values() if given.origin != "default"]
    return origins[0] if origins else "configuration"


def _line(given: Given | None) -> str:
    return "" if given is None or given.line is None else f" (line {given.line})"


def _read_value(model: type[Settings], key: str, given: Given) -> Any:
    """The value as the model takes it: "none" where that is allowed, text as list or table."""
    info, value = model.model_fields[key], given.value
    if not isinstance(value, str):
        return value
    says_none = value.lower() == NONE or (given.is_text and not value)
    if says_none and tree.may_be_none(info):
        return None
    if not given.is_text:
        return value
    if value[:1] in ("[", "{") and (tree.is_list(info) or tree.is_table(info)):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value  # and the model says what it wants instead
    if (choice := tree.choice_of(info, value)) is not None:
        return choice
    if tree.is_list(info):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _refuse_equal_names(hooks: list[Part | None], problems: list[str]) -> None:
    names = [getattr(hook.settings, "name", "") for hook in hooks if hook is not None]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"[[hooks]] the name {name!r} is used twice; events belong to a name")


def keys_of(section: str) -> list[str]:
    """The keys of a section, of all its kinds."""
    if section not in tree.FAMILIES:
        return list(tree.fixed_model(section).model_fields)
    table, _ = tree.FAMILIES[section]
    found: dict[str, None] = {"kind": None}
    for kind in table:
        found.update(dict.fromkeys(tree.kind_model(table, kind).model_fields))
    return list(found)


def variable_of(section: str, key: str) -> str:
    return f"{PREFIX}{section}_{key}".upper()


def flag_of(section: str, key: str) -> str:
    return f"--{section}.{key.replace('_', '-')}"


def _near(wrong: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""
