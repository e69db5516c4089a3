"""tusd_py as it is measured: like its peers, as it comes, and with its state in Redis."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from tests.bench.servers import Contender, Locking
from tests.bench.states import States, StateServer
from tests.support import tokens
from tests.support.toml import build_toml

REPOSITORY: Final = Path(__file__).resolve().parents[2]
TOKEN_SECONDS: Final = 3600.0


NO_TOKEN: Final = {"auth": {"mode": "off"}, "store": {"durability": "process"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a server of ours is started with."""

    name: str
    how: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 1
    has_tokens: bool = True
    state: StateServer | None = None

    def contender(self, **changes: Any) -> Contender:
        """Ready to be measured."""
        recipe = replace(self, **changes)
        token = f"Bearer {tokens.mint(seconds=TOKEN_SECONDS)}"
        loop = "uvloop" if find_spec("uvloop") else "asyncio"
        workers = f"{recipe.workers} worker{'s' if recipe.workers > 1 else ''}"
        return Contender(
            name=recipe.name,
            how=f"{recipe.how}; {workers}, {loop}",
            command=recipe.command,
            path="/upload/",
            create_headers={"Authorization": token} if recipe.has_tokens else {},
            environment={"PYTHONPATH": str(REPOSITORY)},
            locking=Locking.ACROSS_PROCESSES,
            state=recipe.state,
            variant=recipe.contender,
        )

    def command(self, directory: Path, port: int) -> Sequence[str]:
        """Servers on one directory are processes of one machine; on Redis each is a machine."""
        name, data = ("server", "data") if self.state is None else (f"m{port}", f"data-{port}")
        config = directory / f"{name}.toml"
        config.write_text(build_toml(self._settings(directory, name)))
        return [
            *(sys.executable, "-m", "tusd_py", "serve"),
            *("--config", str(config)),
            *("--data-dir", str(directory / data)),
            *("--http.port", str(port)),
        ]

    def _settings(self, directory: Path, name: str) -> dict[str, Any]:
        key = directory / "key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_text(tokens.KEY + "\n")
        found: dict[str, Any] = {
            "http": {"host": "127.0.0.1"},
            "auth": {"key_file": str(key)},
            "process": {"workers": self.workers},
            "store": {"root": str(directory / "uploads")},
        }
        if self.state is not None:
            found["state"] = self.state.section(directory)
            found["process"]["host_name"] = name
        for section, values in self.settings.items():
            found[section] = found.get(section, {}) | values
        return found


def find_ours(workers: int = 1, states: States | None = None) -> list[Contender]:
    """What peers do (no token, no sync), the default (a token, synced when complete), and the
    default with its state in Redis."""
    default = "tokens of auth.mode = creation, store.durability = finish: synced when complete"
    found = [
        Recipe(
            name="tusd_py",
            how="no token, store.durability = process, like its peers; SQLite",
            settings=NO_TOKEN,
            has_tokens=False,
        ),
        Recipe(name="tusd_py default", how=f"{default}; SQLite"),
    ]
    if states is not None:
        how = f"as the default, and its state in Redis {states.version} with conf/redis/single.conf"
        found += [
            Recipe(name="Redis, TCP", how=f"{how}, over TCP", state=states.tcp),
            Recipe(name="Redis, unix", how=f"{how}, over a Unix socket", state=states.unix),
        ]
    return [one.contender(workers=workers) for one in found]
