"""Servers as the benchmark runs them: started, found ready, measured, ended."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

from tests.bench import processes
from tests.bench.states import StateServer
from tests.bench.wire import HOST, BenchError, Connection, Endpoint

START_SECONDS: Final = 20.0
END_SECONDS: Final = 5.0
LOG_TAIL_BYTES: Final = 2000


class Locking(Enum):
    """What a server does with a second writer; only the first can be measured twice over."""

    ACROSS_PROCESSES = "leases that processes share"
    IN_PROCESS = "locks of one process"
    NONE = "no lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A server that can be measured."""

    name: str
    how: str
    """Version and configuration, for the reader of the table."""
    command: Callable[[Path, int], Sequence[str]]
    """The command line for a directory and a port."""
    path: str
    """Where uploads are created."""
    create_headers: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    locking: Locking
    state: StateServer | None = None
    """Where its state is, where that is a server of its own."""
    variant: Callable[..., "Contender"] | None = None
    """The same with another ``state``, or so many ``workers``."""

    def endpoint(self, port: int) -> Endpoint:
        return Endpoint(port, self.path, self.create_headers)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    contender: Contender
    endpoint: Endpoint
    process: subprocess.Popen[bytes]
    start_seconds: float
    """From its first process to its first answer."""

    @property
    def port(self) -> int:
        return self.endpoint.port

    def cpu_seconds(self) -> float:
        """Its own and its state's."""
        state = self.contender.state
        beside = processes.cpu_seconds(state.pid) if state is not None else 0.0
        return processes.cpu_seconds(self.process.pid) + beside

    def memory(self) -> processes.Memory:
        return processes.memory(self.process.pid)

    def connect(self, **options: float) -> Connection:
        return Connection(self.port, **options)

    def kill9(self) -> None:
        """End it at once, with all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Let it end by itself, for a few seconds."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_SECONDS)
        self.kill9()


@contextmanager
def running(contender: Contender, directory: Path) -> Iterator[Running]:
    """A server on the directory for as long as the block lasts."""
    server = start(contender, directory)
    try:
        yield server
    finally:
        server.stop()


def start(contender: Contender, directory: Path) -> Running:
    """Start it and wait for its first answer. The caller ends it."""
    directory.mkdir(parents=True, exist_ok=True)
    endpoint = contender.endpoint(_free_port())
    log_path = directory.with_suffix(".log")
    began = time.perf_counter()
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            contender.command(directory, endpoint.port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | contender.environment,
        )
    try:
        took = _wait_until_it_answers(process, endpoint, began)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, BenchError):
            raise BenchError(f"{error}: {_tail(log_path)}") from None
        raise
    return Running(contender, endpoint, process, took)


def _wait_until_it_answers(
    process: subprocess.Popen[bytes], endpoint: Endpoint, began: float
) -> float:
    while (passed := time.perf_counter() - began) < START_SECONDS:
        if process.poll() is not None:
            raise BenchError(f"ended with {process.returncode} before it answered")
        try:
            with Connection(endpoint.port) as connection:
                connection.ask(endpoint.options()).expect(200, 204)
        except ConnectionError:
            time.sleep(0.002)
        else:
            return time.perf_counter() - began
    raise BenchError(f"did not answer within {passed:.0f} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _tail(path: Path) -> str:
    text = path.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace")
    return " | ".join(text.split("\n")[-8:])
