"""One typed tree of settings out of file, environment and flags: flag over environment over file.

``sources`` reads, ``tree`` knows the models, ``build`` judges, ``render`` shows and documents.
"""

from collections.abc import Mapping
from pathlib import Path

from tusd_py.config.build import build
from tusd_py.config.sources import (
    Collected,
    ConfigError,
    choose_file,
    read_environment,
    read_file,
    read_flags,
)
from tusd_py.config.tree import SECTIONS, Part, ProcessSettings, Tree

__all__ = ["Collected", "ConfigError", "Part", "ProcessSettings", "Tree", "build", "load"]


def load(
    *, file: Path | None = None, environment: Mapping[str, str], flags: Mapping[str, str]
) -> Tree:
    """The tree. Raises ConfigError with everything that is wrong.

    ``flags``: the settings of the command line, like ``{"http.port": "1080"}``.
    """
    collected = Collected()
    if (chosen := choose_file(file, environment)) is not None:
        read_file(collected, chosen)
    read_environment(collected, environment, SECTIONS)
    read_flags(collected, flags)
    return build(collected)
