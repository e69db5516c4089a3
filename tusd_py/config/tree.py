"""The one tree of settings: which sections there are and which model stands behind each.

Every part's model lies beside the part. The models of a family (``[store]``, ``[state]``,
``[auth]``, ``[[hooks]]``) are found by the key ``kind``.
"""

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from pydantic.fields import FieldInfo

from tusd_py import registry
from tusd_py.config.sources import Collected
from tusd_py.settings import Settings

DEFAULT_DATA_DIR: Final = Path("data")


class ProcessSettings(Settings):
    """The serving processes."""

    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Serving processes. More than one share a listening socket, state and store, under a
    supervisor that restarts them; SIGHUP then renews one after the other and refuses nobody."""
    stop_seconds: Annotated[float, Field(gt=0)] = 20.0
    """After SIGTERM or SIGINT: the server has stopped by then."""
    uvloop: Literal["auto", "on", "off"] = "auto"
    """The faster event loop: auto takes it where it is installed."""
    host_name: str | None = None
    """This machine's name in records: of one machine alone, and the same for ever (in a container
    that of the node). "none": with a state that machines share one made of /etc/machine-id, else
    one that suits a state of one machine."""


FIXED: Final[Mapping[str, str]] = {
    "http": "tusd_py.web.settings:HttpSettings",
    "upload": "tusd_py.service.settings:UploadSettings",
    "limits": "tusd_py.service.settings:LimitSettings",
    "download": "tusd_py.web.view_settings:DownloadSettings",
    "watch": "tusd_py.web.view_settings:WatchSettings",
    "outbox": "tusd_py.service.outbox:OutboxSettings",
    "log": "tusd_py.logs:LogSettings",
    "process": "tusd_py.config.tree:ProcessSettings",
}
FAMILIES: Final[Mapping[str, tuple[Mapping[str, str], str]]] = {
    "auth": (registry.AUTHENTICATORS, "jwt"),
    "store": (registry.STORES, "disk"),
    "state": (registry.STATES, "sqlite"),
}
"""Section to table of kinds and the kind taken where none is named."""
SECTIONS: Final = (
    "http",
    "auth",
    "store",
    "state",
    "upload",
    "limits",
    "download",
    "watch",
    "outbox",
    "log",
    "process",
)
"""In the order of documents."""
TOP_KEYS: Final = ("data_dir",)
IN_DATA_DIR: Final[Mapping[tuple[str, str], str]] = {
    ("store", "root"): "uploads",
    ("state", "path"): "state.db",
}
"""Paths that lie in the data directory where they are not given."""


@dataclass(frozen=True, slots=True)
class Part:
    """One choice out of a family, with its settings."""

    kind: str
    settings: Any
    """The model of that kind (its class is the registry's to know)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """All settings, checked."""

    data_dir: Path
    http: Any
    auth: Part
    store: Part
    state: Part
    upload: Any
    limits: Any
    download: Any
    watch: Any
    hooks: tuple[Part, ...]
    outbox: Any
    log: Any
    process: ProcessSettings
    given: Collected
    """What it was made of: for showing origins, and for handing over to another process."""

    def section(self, name: str) -> Settings:
        """The model of one section, whatever its kind."""
        found = getattr(self, name)
        model: Settings = found.settings if isinstance(found, Part) else found
        return model


def fixed_model(section: str) -> type[Settings]:
    model: type[Settings] = registry.load(FIXED[section])
    return model


def kind_model(table: Mapping[str, str], kind: str) -> type[Settings]:
    """The model of a kind that the table knows."""
    return registry.settings_type(registry.load(table[kind]))


def default_models() -> dict[str, type[Settings]]:
    """Section to model, each family with its usual kind."""
    models: dict[str, type[Settings]] = {}
    for name in SECTIONS:
        if name in FAMILIES:
            models[name] = kind_model(*FAMILIES[name])
        else:
            models[name] = fixed_model(name)
    return models


def members(annotation: Any) -> tuple[Any, ...]:
    """The types a value may have: those of a union, without ``Annotated`` around them."""
    if typing.get_origin(annotation) is Annotated:
        return members(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(one for arg in typing.get_args(annotation) for one in members(arg))
    return (annotation,)


def may_be_none(info: FieldInfo) -> bool:
    return type(None) in members(info.annotation)


def is_list(info: FieldInfo) -> bool:
    origins = {typing.get_origin(one) or one for one in members(info.annotation)}
    return bool(origins & {tuple, list, set, frozenset})


def is_table(info: FieldInfo) -> bool:
    origins = [typing.get_origin(one) or one for one in members(info.annotation)]
    return any(isinstance(one, type) and issubclass(one, Mapping) for one in origins)


def choice_of(info: FieldInfo, text: str) -> Any:
    """The choice that ``text`` spells, for choices that are not text themselves; else None."""
    for one in members(info.annotation):
        if typing.get_origin(one) is Literal:
            for choice in typing.get_args(one):
                if not isinstance(choice, str) and str(choice) == text:
                    return choice
    return None
