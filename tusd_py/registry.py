"""Which class stands behind which name. One line makes a new part known; it is imported when named.

The settings of a part are the type of its constructor's argument ``settings`` (or what the class
names as ``settings_type``): they travel with it, and ``config`` joins them to the one tree.
"""

import importlib
import typing
from collections.abc import Mapping
from typing import Any, Final

from tusd_py.settings import Settings

STORES: Final[Mapping[str, str]] = {
    "disk": "tusd_py.stores.disk:DiskStore",
}
STATES: Final[Mapping[str, str]] = {
    "sqlite": "tusd_py.state.sqlite:SqliteState",
    "redis": "tusd_py.state.redis.store:RedisState",
}
HOOKS: Final[Mapping[str, str]] = {
    "python": "tusd_py.hooks.python:PythonHook",
    "webhook": "tusd_py.hooks.webhook:WebhookSink",
}
AUTHENTICATORS: Final[Mapping[str, str]] = {
    "jwt": "tusd_py.auth.jwt:JwtAuthenticator",
}
FAMILIES: Final[Mapping[str, Mapping[str, str]]] = {
    "stores": STORES,
    "states": STATES,
    "hooks": HOOKS,
    "authenticators": AUTHENTICATORS,
}


def load(target: str) -> Any:
    """What ``module:Name`` names. ImportError and AttributeError are faults of the table."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def settings_type(part: type) -> type[Settings]:
    """The model of the settings that ``part`` is made with."""
    found = getattr(part, "settings_type", None)
    if found is None:
        found = typing.get_type_hints(vars(part)["__init__"]).get("settings")
    if not (isinstance(found, type) and issubclass(found, Settings)):
        raise TypeError(f"{part.__qualname__} has no argument 'settings' with a model of settings")
    return found
