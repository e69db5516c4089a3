"""tusd_py as it is measured: once like its peers, once as it comes."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from tests.bench.servers import Contender, Locking
from tests.support import tokens
from tests.support.toml import build_toml

REPOSITORY: Final = Path(__file__).resolve().parents[2]
TOKEN_SECONDS: Final = 3600.0


def find_ours(workers: int = 1) -> list[Contender]:
    """What peers do (no token, no sync), and the default (a token, synced when complete)."""
    return [
        _contender(
            "tusd_py",
            "no token, store.durability = process, like its peers",
            {"auth": {"mode": "off"}, "store": {"durability": "process"}},
            workers,
        ),
        _contender(
            "tusd_py default",
            "tokens of auth.mode = creation, store.durability = finish: synced when complete",
            {},
            workers,
            {"Authorization": f"Bearer {tokens.mint(seconds=TOKEN_SECONDS)}"},
        ),
    ]


def _contender(
    name: str,
    how: str,
    settings: dict[str, Any],
    workers: int,
    create_headers: dict[str, str] | None = None,
) -> Contender:
    def command(directory: Path, port: int) -> Sequence[str]:
        return _command(directory, port, settings, workers)

    loop = "uvloop" if find_spec("uvloop") else "asyncio"
    return Contender(
        name=name,
        how=f"{how}; {workers} worker{'s' if workers > 1 else ''}, {loop}",
        command=command,
        path="/upload/",
        create_headers=create_headers or {},
        environment={"PYTHONPATH": str(REPOSITORY)},
        locking=Locking.ACROSS_PROCESSES,
    )


def _command(directory: Path, port: int, settings: dict[str, Any], workers: int) -> Sequence[str]:
    key = directory / "key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_text(tokens.KEY + "\n")
    config = directory / "config.toml"
    own: dict[str, Any] = {
        "http": {"host": "127.0.0.1"},
        "auth": {"key_file": str(key)},
        "process": {"workers": workers},
    }
    for section, values in settings.items():
        own[section] = own.get(section, {}) | values
    config.write_text(build_toml(own))
    return [
        *(sys.executable, "-m", "tusd_py", "serve"),
        *("--config", str(config)),
        *("--data-dir", str(directory / "data")),
        *("--http.port", str(port)),
    ]
