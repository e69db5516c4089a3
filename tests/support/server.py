"""The real server in a process group of its own, started, killed, frozen and started again.

It is asked to tell when it is ready: ``serve --ready-fd N`` writes one line of JSON to the
descriptor N once it accepts connections. A descriptor that closes without it means that the
server has died, and its log is in the error.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from tests.support import tokens
from tests.support.sockets import quiet_port
from tests.support.toml import build_toml

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0
STOP_SECONDS = 30.0
PORT_TRIES = 5
PORT_TAKEN = "Address already in use"
LINE_BYTES = 4 * 1024 * 1024
LogRecord = dict[str, Any]


class ServerDied(Exception):
    """The server ended when it should have served."""


class Server:
    """One server process on a directory; the directory outlives it."""

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, Any] | None = None,
        *,
        flags: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        name: str = "server",
        command: tuple[str, ...] = (sys.executable, "-m", "tusd_py"),
        wrapper: tuple[str, ...] = (),
        heard_by: "Server | None" = None,
    ) -> None:
        """``heard_by``: whose ``output`` and ``errors`` grow by this one's lines, too."""
        self.directory = directory
        self.settings = _with_defaults(directory, settings or {})
        self.flags = flags
        self.environment = dict(environment or {})
        self.name = name
        self.command = command
        self.wrapper = wrapper
        """Goes before the command, ``("nsenter", ...)`` for one."""
        self.data_directory = directory / "data"
        self.port = quiet_port()
        self.endpoint = ""
        """Where uploads are created, with the slash."""
        self.base = ""
        """Scheme, host and port."""
        self.pid = 0
        """Of the server itself, as it tells."""
        self.output: list[str] = []
        """Lines of standard output, over all starts."""
        self.errors: list[str] = []
        """Lines of standard error, over all starts."""
        self._heard_by = heard_by
        self._has_served = False
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._grown = asyncio.Condition()

    # --- starting and ending

    async def start(self) -> Self:
        """Start it, on the port of the first start, and wait until it is ready."""
        assert self._process is None or self._process.returncode is not None, "it runs already"
        for _ in range(PORT_TRIES - 1):
            try:
                return await self._start()
            except ServerDied as error:
                # Somebody else was faster to take the port that was free a moment ago.
                if self._has_served or PORT_TAKEN not in str(error):
                    raise
                self.port = quiet_port()
        return await self._start()

    async def _start(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        read_end, write_end = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command_line(write_end),
                cwd=self.directory,
                env=self._environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=LINE_BYTES,
                pass_fds=(write_end,),
                start_new_session=True,
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        await self._read_streams(self._process)
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await _line_from(read_end)
        except TimeoutError:
            await self.kill9()
            raise ServerDied(f"not ready after {START_SECONDS} s\n{self.tail()}") from None
        except BaseException:
            await self.kill9()
            raise
        if not line.strip():
            code = await self.ended()
            raise ServerDied(f"ended with {code} before it was ready\n{self.tail()}")
        told = json.loads(line)
        self.endpoint, self.base, self.pid = told["endpoint"], told["base"], told["pid"]
        self.port = int(self.base.rsplit(":", 1)[1].rstrip("/"))
        self._has_served = True
        return self

    async def kill9(self) -> None:
        """SIGKILL to the whole process group, and wait until it is gone."""
        if self._process is not None:
            self._signal_group(signal.SIGKILL)
            await self.ended()

    async def stop(self, *, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM to the server, and its exit code. Killed, and an error, if it does not end."""
        self.terminate()
        try:
            return await self.ended(seconds=seconds)
        except TimeoutError:
            await self.kill9()
            raise AssertionError(f"no end {seconds} s after SIGTERM\n{self.tail()}") from None

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        assert self._process is not None, "it was never started"
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    async def ended(self, *, seconds: float = STOP_SECONDS) -> int:
        """Wait until it has ended by itself; its exit code."""
        assert self._process is not None, "it was never started"
        async with asyncio.timeout(seconds):
            code = await self._process.wait()
            # A worker that outlives the server may hold the pipes: the group goes first.
            self._signal_group(signal.SIGKILL)
            await asyncio.gather(*self._readers)
        return code

    async def restart(self, *, kill: bool = False) -> Self:
        """End it (by SIGTERM or SIGKILL) and start it, same directory, same port."""
        if self.runs:
            await (self.kill9() if kill else self.stop())
        return await self.start()

    def pause(self) -> None:
        """SIGSTOP to the whole group: time goes on, the server does not."""
        self._signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal_group(signal.SIGCONT)

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    # --- where things are

    @property
    def store_root(self) -> Path:
        """Where bytes and facts of uploads lie."""
        root = self.settings.get("store", {}).get("root")
        return Path(root) if root else self.data_directory / "uploads"

    @property
    def files_root(self) -> Path:
        """Where finished files go that have a destination."""
        return self.store_root.parent / "files"

    @property
    def own_flags(self) -> tuple[str, ...]:
        """What tells a command of ``tusd-py`` that it is about this server."""
        return ("--config", str(self._config_file), "--data-dir", str(self.data_directory))

    @property
    def _config_file(self) -> Path:
        return self.directory / f"{self.name}.toml"

    def twin(self, name: str, settings: Mapping[str, Any] | None = None) -> "Server":
        """Another server on the same directory, with a port of its own. Not started."""
        return Server(
            self.directory,
            merged(self.settings, settings or {}),
            flags=self.flags,
            environment=self.environment,
            name=name,
            command=self.command,
            wrapper=self.wrapper,
        )

    # --- what it says

    @property
    def logs(self) -> list[LogRecord]:
        """The lines of standard error that are JSON objects, oldest first, over all starts."""
        return [record for line in self.errors if (record := _parse_record(line)) is not None]

    async def logged(
        self, wanted: str | Callable[[LogRecord], bool], *, seconds: float = 20.0
    ) -> LogRecord:
        """Wait for a record (of this ``event``, or one that the function likes), old ones too."""
        seen = 0
        async with asyncio.timeout(seconds), self._grown:
            while True:
                for line in self.errors[seen:]:
                    record = _parse_record(line)
                    if record is not None and _is_wanted(record, wanted):
                        return record
                seen = len(self.errors)
                await self._grown.wait()

    def tail(self, lines: int = 40) -> str:
        """The last lines of what it said."""
        return "\n".join([*self.output[-lines:], *self.errors[-lines:]])

    def mint(self, **claims: Any) -> str:
        """A token that this server takes; see ``tokens.mint``."""
        return tokens.mint(Path(self.settings["auth"]["key_file"]).read_text().strip(), **claims)

    # --- inside

    def _command_line(self, ready_fd: int) -> list[str]:
        self._config_file.write_text(build_toml(self.settings))
        return [
            *self.wrapper,
            *self.command,
            "serve",
            *self.own_flags,
            *("--http.port", str(self.port)),
            *("--ready-fd", str(ready_fd)),
            *self.flags,
        ]

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("TUSD_PY_")
        }
        path = os.pathsep.join(filter(None, (str(REPOSITORY), kept.get("PYTHONPATH"))))
        return kept | {"PYTHONPATH": path} | self.environment

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def _read_streams(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None and process.stderr is not None
        self._readers = [
            asyncio.create_task(self._collect(process.stdout, is_error=False)),
            asyncio.create_task(self._collect(process.stderr, is_error=True)),
        ]

    async def _collect(self, stream: asyncio.StreamReader, *, is_error: bool) -> None:
        async for line in stream:
            await self._hear(line.decode("utf-8", "replace").rstrip("\n"), is_error=is_error)

    async def _hear(self, line: str, *, is_error: bool) -> None:
        async with self._grown:
            (self.errors if is_error else self.output).append(line)
            self._grown.notify_all()
        if self._heard_by is not None:
            await self._heard_by._hear(line, is_error=is_error)


@asynccontextmanager
async def serving(
    directory: Path, settings: Mapping[str, Any] | None = None, **options: Any
) -> AsyncIterator[Server]:
    """A server that runs; killed at the end if it still does. See ``Server`` for the options."""
    server = Server(directory, settings, **options)
    try:
        yield await server.start()
    finally:
        await server.kill9()


def _with_defaults(directory: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    directory.mkdir(parents=True, exist_ok=True)
    key_file = directory / "key"
    if not key_file.exists():
        key_file.touch(mode=0o600)
        key_file.write_text(tokens.KEY + "\n")
    defaults: dict[str, Any] = {
        "http": {"host": "127.0.0.1"},
        "auth": {"key_file": str(key_file)},
        "log": {"format": "json"},
    }
    return merged(defaults, settings)


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged, anything else is replaced."""
    result = dict(first)
    for name, value in second.items():
        old = result.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[name] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


async def _line_from(descriptor: int) -> bytes:
    """One line from a pipe; empty when the other end closed it."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        return await reader.readline()
    finally:
        transport.close()


def _parse_record(line: str) -> LogRecord | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _is_wanted(record: LogRecord, wanted: str | Callable[[LogRecord], bool]) -> bool:
    return record.get("event") == wanted if isinstance(wanted, str) else wanted(record)
