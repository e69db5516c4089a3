"""The files the rules look at."""

import ast
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
NOT_OURS: Final = {"node_modules", "__pycache__", "data", "build", "dist", "tmp"}


@dataclass(frozen=True)
class Finding:
    """One place that breaks a rule."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Source:
    """One file, by its path from the top of the repository."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def parts(self) -> tuple[str, ...]:
        """``tusd_py/core/rules.py`` → ``("tusd_py", "core", "rules")``, a package without its
        ``__init__``."""
        parts = PurePosixPath(self.path).with_suffix("").parts
        return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts

    @property
    def is_package(self) -> bool:
        return self.path.endswith("/__init__.py")

    def at(self, line: int, what: str) -> Finding:
        return Finding(self.path, line, what)


def _listed() -> Iterator[str]:
    """What git keeps or would keep; without git, what lies there less what tools made."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        yield from filter(None, listed.stdout.split("\0"))
        return
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [
            name
            for name in subfolders
            if name not in NOT_OURS and not name.endswith(".egg-info") and name[:1] != "."
        ]
        yield from (str((Path(folder) / name).relative_to(ROOT)) for name in names)


@cache
def files() -> tuple[Source, ...]:
    """Every text file of the repository."""
    found = []
    for path in sorted(set(_listed())):
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue  # not text; removed and not yet committed; a link to a folder
        found.append(Source(path, text))
    return tuple(found)


def package() -> list[Source]:
    return [source for source in files() if _is_python_in(source, "tusd_py")]


def tests() -> list[Source]:
    return [source for source in files() if _is_python_in(source, "tests")]


def _is_python_in(source: Source, folder: str) -> bool:
    return source.path.startswith(f"{folder}/") and source.path.endswith(".py")
