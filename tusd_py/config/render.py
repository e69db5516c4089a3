"""The tree for people: as it is in effect, as a commented file, as flags with their variables."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tusd_py import registry
from tusd_py.config import tree
from tusd_py.config.build import NONE, flag_of, variable_of
from tusd_py.config.tree import Part, Tree
from tusd_py.settings import Settings

MASK: Final = "***"
WIDTH: Final = 96
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)|(?<=\?).+")
_SECRET_NAME = re.compile(r"(?:^|_)(?:secret|secrets|key|keys|token|password)$")


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting as it is in effect."""

    name: str
    value: Any
    """Ready for JSON, secrets masked."""
    origin: str


def show(found: Tree) -> Iterator[Shown]:
    """Every setting in effect, in the order of documents."""
    top = found.given.top.get("data_dir")
    yield Shown("data_dir", str(found.data_dir), top.origin if top else "default")
    for name in tree.SECTIONS:
        given = found.given.sections.get(name, {})
        part = getattr(found, name)
        if isinstance(part, Part) and "kind" not in type(part.settings).model_fields:
            origin = given["kind"].origin if "kind" in given else "default"
            yield Shown(f"{name}.kind", part.kind, origin)
        yield from _show_model(name, found.section(name), given)
    for number, hook in enumerate(found.hooks):
        given = found.given.hooks[number]
        name = f"hooks.{getattr(hook.settings, 'name', number)}"
        if "kind" not in type(hook.settings).model_fields:
            yield Shown(f"{name}.kind", hook.kind, given["kind"].origin)
        yield from _show_model(name, hook.settings, given)


def _show_model(label: str, model: Settings, given: Mapping[str, Any]) -> Iterator[Shown]:
    for key in type(model).model_fields:
        origin = given[key].origin if key in given else "default"
        yield Shown(f"{label}.{key}", masked(key, getattr(model, key)), origin)


def masked(key: str, value: Any) -> Any:
    """A value ready for JSON; what could be a secret is hidden, also a password in an address."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, SecretStr | bytes) or _SECRET_NAME.search(key):
        return MASK
    if isinstance(value, Settings):
        return {k: masked(k, getattr(value, k)) for k in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(k): masked(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [masked("", one) for one in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, int | float):
        return value
    text = str(value)
    return _CREDENTIALS.sub(MASK, text) if "://" in text else text


# ------------------------------------------------------------------ a commented file


def build_file() -> str:
    """The text of ``conf/tusd.toml``: every setting, commented out, at its default."""
    lines = [
        "# Every setting of tusd-py at its default. A setting stands without the # before it once",
        "# it should differ. Environment (TUSD_PY_HTTP_PORT) and flags (--http.port) win over this",
        f'# file. "{NONE}" switches off what can be switched off.',
        "",
        *_comment("Where the server keeps what it is not told to keep elsewhere."),
        f"#data_dir = {to_toml(str(tree.DEFAULT_DATA_DIR))}",
    ]
    for name, model in tree.default_models().items():
        lines += ["", f"[{name}]"]
        if name in tree.FAMILIES and "kind" not in model.model_fields:
            table, usual = tree.FAMILIES[name]
            lines += ["", *_comment(f"One of: {', '.join(sorted(table))}.")]
            lines.append(f"#kind = {to_toml(usual)}")
        for key, info in model.model_fields.items():
            lines += _setting(name, key, info)
        for kind, other in _other_models(name).items():
            lines += _other_kind(name, kind, other)
    for kind in registry.HOOKS:
        lines += _hook_example(kind)
    return "\n".join(lines) + "\n"


def _other_models(section: str) -> dict[str, type[Settings]]:
    """Kind to model, for the kinds of a section that are not the usual one."""
    if section not in tree.FAMILIES:
        return {}
    table, usual = tree.FAMILIES[section]
    return {kind: tree.kind_model(table, kind) for kind in table if kind != usual}


def _setting(section: str, key: str, info: FieldInfo) -> list[str]:
    value = default_of(section, key, info)
    text = _describe(section, key, info)
    if value is PydanticUndefined:
        return ["", *_comment(f"{text} Needed."), f"#{key} ="]
    return ["", *_comment(text), f"#{key} = {to_toml(value)}"]


def _describe(section: str, key: str, info: FieldInfo) -> str:
    if info.description is None and key == "kind" and section in tree.FAMILIES:
        return f"One of: {', '.join(sorted(tree.FAMILIES[section][0]))}."
    return info.description or ""


def _other_kind(section: str, kind: str, model: type[Settings]) -> list[str]:
    """The settings of a kind that is not the usual one: behind ``##``, for the section of the file
    knows the usual one's."""
    told = f"With kind = {to_toml(kind)} [{section}] knows these instead; they stand without the ##"
    lines = ["", *_comment(f"{told} before them.")]
    for key, info in model.model_fields.items():
        if key != "kind":
            lines += ["#" + line if line else line for line in _setting(section, key, info)]
    return lines


def _hook_example(kind: str) -> list[str]:
    model = tree.kind_model(registry.HOOKS, kind)
    lines = ["", f"# A hook of the kind {kind}; there may be several of each.", "#[[hooks]]"]
    if "kind" not in model.model_fields:
        lines.append(f"#kind = {to_toml(kind)}")
    for key, info in model.model_fields.items():
        lines += [
            line.replace("#", "##", 1) if line.startswith("# ") else line
            for line in (_setting("hooks", key, info)[1:])
        ]
    return lines


def default_of(section: str, key: str, info: FieldInfo) -> Any:
    """The default as it would be written, ``PydanticUndefined`` where there is none."""
    if (section, key) in tree.IN_DATA_DIR:
        return str(tree.DEFAULT_DATA_DIR / tree.IN_DATA_DIR[section, key])
    return info.get_default(call_default_factory=True, validated_data={})


def to_toml(value: Any) -> str:
    """One value in TOML."""
    if value is None:
        return json.dumps(NONE)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return to_toml(value.value)
    if isinstance(value, int | float):
        return repr(int(value)) if isinstance(value, int) else repr(value)
    if isinstance(value, list | tuple | set | frozenset):
        ordered = sorted(value) if isinstance(value, set | frozenset) else value
        return f"[{', '.join(map(to_toml, ordered))}]"
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(str(k))} = {to_toml(v)}" for k, v in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    raise TypeError(f"no TOML for {type(value).__name__}")


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in _wrapped(text)]


def _wrapped(text: str) -> list[str]:
    plain = " ".join(text.split()).replace("``", '"')
    return textwrap.wrap(plain, WIDTH, break_on_hyphens=False, break_long_words=False)


# ------------------------------------------------------------------ flags


def build_flag_help() -> str:
    """Every flag with its variable, default and meaning."""
    lines: list[str] = []
    for name, model in tree.default_models().items():
        lines += ["", f"[{name}]"]
        for key, info in model.model_fields.items():
            lines += _flag(name, key, info)
        for kind, other in _other_models(name).items():
            lines += ["", f"[{name}] of the kind {kind}"]
            for key, info in other.model_fields.items():
                if key != "kind":
                    lines += _flag(name, key, info)
    return "\n".join(lines)


def _flag(section: str, key: str, info: FieldInfo) -> list[str]:
    value = default_of(section, key, info)
    default = "" if value is PydanticUndefined else f"  [default: {to_toml(value)}]"
    return [
        f"  {flag_of(section, key)}  [env: {variable_of(section, key)}]{default}",
        *(f"      {line}" for line in _wrapped(_describe(section, key, info))),
    ]
