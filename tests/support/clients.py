"""Real client libraries in processes of their own, which tell in JSON lines what they do.

``upload_js`` drives tus-js-client 2 to 5 in Node, ``upload_tuspy`` drives tuspy; the browser is
in ``browser.py``, clients in other languages in ``tests/interop``. What they sent and were
answered is in ``ClientRun.requests``, so that a test can say "no PATCH started at 0 after the
first". The clients that are imitated on the wire are in ``java_client.py`` and ``tuskit.py``.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CLIENTS = Path(__file__).resolve().parents[1] / "clients"
RUN_SECONDS = 50.0
ClientEvent = dict[str, Any]


class NoClient(Exception):
    """A client library is not installed."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request of a client and its answer, if one came."""

    method: str
    """After ``X-HTTP-Method-Override``."""
    url: str
    headers: Mapping[str, str]
    """Names in lower case."""
    status: int | None
    answer: Mapping[str, str]
    """The answer's headers, names in lower case."""

    @property
    def offset(self) -> int | None:
        """``Upload-Offset`` as sent."""
        value = self.headers.get("upload-offset")
        return None if value is None else int(value)


@dataclass(slots=True, kw_only=True)
class JsOptions:
    """Options of tus-js-client (its names in snake case), and what is done around them."""

    endpoint: str | None
    file: Path
    version: int = 4
    """2 to 5."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    chunk_size: int | None = None
    retry_delays: tuple[int, ...] | None = (0, 100, 200, 400, 800, 1600)
    """Milliseconds; None turns retries off."""
    upload_length_deferred: bool = False
    upload_data_during_creation: bool = False
    override_patch_method: bool = False
    parallel_uploads: int = 1
    add_request_id: bool = False
    protocol: str | None = None
    """``tus-v1``, ``ietf-draft-03``, ``ietf-draft-05``; from version 4 on."""
    upload_url: str | None = None
    url_storage: Path | None = None
    """Where upload URLs are kept from run to run; a new run finds its upload there."""
    abort_after_bytes: int | None = None
    """Abort once so many bytes were sent, and end with the event ``aborted``."""
    terminate: bool = False
    """DELETE the upload when aborting."""
    stream: bool = False
    """Give the library a stream instead of the file; needs ``chunk_size``."""


class ClientRun:
    """A client that runs, or has."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.events: list[ClientEvent] = []
        self.errors = ""
        """Its standard error."""
        self._process = process
        self._grown = asyncio.Condition()
        self._readers = [
            asyncio.create_task(self._read_events()),
            asyncio.create_task(self._read_errors()),
        ]

    async def wait(self, *, seconds: float = RUN_SECONDS) -> "ClientRun":
        """Wait until it has ended."""
        ended = asyncio.gather(*self._readers, self._process.wait())
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(ended)
        except TimeoutError:
            raise AssertionError(f"it has not ended in {seconds} s\n{self.story()}") from None
        return self

    async def saw(
        self, wanted: str | Callable[[ClientEvent], bool], *, seconds: float = RUN_SECONDS
    ) -> ClientEvent:
        """Wait for an event, of this name or one that the function likes."""
        async with asyncio.timeout(seconds), self._grown:
            seen = 0
            while True:
                for event in self.events[seen:]:
                    if event["event"] == wanted if isinstance(wanted, str) else wanted(event):
                        return event
                seen = len(self.events)
                if self._readers[0].done() or (self.events and self.events[-1]["event"] == "end"):
                    raise AssertionError(f"it ended without {wanted}\n{self.story()}")
                await self._grown.wait()

    async def progress(self, count: int, *, seconds: float = RUN_SECONDS) -> None:
        """Wait until it says that ``count`` bytes were sent.

        In Node that means the kernel took them, megabytes ahead of the server, and it is said
        ten times a second at most. To act at a byte, wait for ``relay.passed``.
        """
        await self.saw(
            lambda event: event["event"] == "progress" and event["sent"] >= count, seconds=seconds
        )

    async def command(self, command: str) -> None:
        """Tell it to do something, in a line of JSON on its standard input, and wait until it
        says that it did. In Node: ``pause``, ``resume``, ``cancel`` (which ends it)."""
        assert self._process.stdin is not None
        done = sum(event["event"] == "did" for event in self.events)
        self._process.stdin.write(json.dumps({"command": command}).encode() + b"\n")
        await self.saw(lambda _: sum(event["event"] == "did" for event in self.events) > done)

    async def kill(self) -> None:
        """SIGKILL, as when a browser is closed."""
        if self._process.returncode is None:  # else the number may be another process's by now
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await asyncio.gather(*self._readers)
        await self._process.wait()

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    @property
    def succeeded(self) -> bool:
        return any(event["event"] == "success" for event in self.events)

    @property
    def successes(self) -> int:
        """How often it said so; once is right."""
        return sum(event["event"] == "success" for event in self.events)

    @property
    def url(self) -> str | None:
        """The upload's URL, once it is known."""
        for event in reversed(self.events):
            if event.get("uploadUrl"):
                return str(event["uploadUrl"])
        return None

    @property
    def error(self) -> str | None:
        """What it failed with."""
        for event in self.events:
            if event["event"] == "error":
                return str(event["message"])
        return None

    @property
    def requests(self) -> list[Sent]:
        """Every request it made, in order, with the answers that came."""
        answers = {event["id"]: event for event in self.events if event["event"] == "response"}
        return [
            Sent(
                method=event["method"],
                url=event["url"],
                headers=event["headers"],
                status=answers[event["id"]]["status"] if event["id"] in answers else None,
                answer=answers[event["id"]]["headers"] if event["id"] in answers else {},
            )
            for event in self.events
            if event["event"] == "request"
        ]

    def of(self, method: str) -> list[Sent]:
        """The requests of one method."""
        return [sent for sent in self.requests if sent.method == method]

    def story(self) -> str:
        """What happened, for the message of a failed test."""
        return "\n".join([*(json.dumps(event) for event in self.events[-40:]), self.errors])

    async def _read_events(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._grown:
                self.events.append(json.loads(line))
                self._grown.notify_all()
        async with self._grown:
            self.events.append({"event": "end"})
            self._grown.notify_all()

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self.errors = (await self._process.stderr.read()).decode("utf-8", "replace")


@asynccontextmanager
async def running_js(options: JsOptions) -> AsyncIterator[ClientRun]:
    """tus-js-client at work; killed at the end if it still runs."""
    chosen = json.dumps(in_camel_case(options))
    async with running_client(node(), str(CLIENTS / "upload.mjs"), chosen) as run:
        yield run


async def upload_js(options: JsOptions, *, seconds: float = RUN_SECONDS) -> ClientRun:
    """tus-js-client until it ends. Look at ``succeeded``, ``error`` and ``requests``."""
    async with running_js(options) as run:
        return await run.wait(seconds=seconds)


@dataclass(slots=True, kw_only=True)
class TuspyOptions:
    """Options of tuspy."""

    endpoint: str
    file: Path
    is_async: bool = False
    """Its AsyncUploader."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    chunk_size: int | None = None
    retries: int = 5
    retry_delay: float = 0.3
    upload_checksum: bool = False
    upload_url: str | None = None
    url_storage: Path | None = None
    stop_at: int | None = None
    """Send up to this offset only, and end with the event ``aborted``."""


@asynccontextmanager
async def running_tuspy(options: TuspyOptions) -> AsyncIterator[ClientRun]:
    """tuspy at work; killed at the end if it still runs."""
    script = str(CLIENTS / "tuspy_upload.py")
    async with running_client(sys.executable, script, json.dumps(_plain(options))) as run:
        yield run


async def upload_tuspy(options: TuspyOptions, *, seconds: float = RUN_SECONDS) -> ClientRun:
    """tuspy until it ends."""
    async with running_tuspy(options) as run:
        return await run.wait(seconds=seconds)


@asynccontextmanager
async def running_client(program: str, *arguments: str) -> AsyncIterator[ClientRun]:
    """Any program that tells in JSON lines what it does; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(program, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=4 * 1024 * 1024,
        start_new_session=True,
    )
    run = ClientRun(process)
    try:
        yield run
    finally:
        await run.kill()


def node() -> str:
    """The command that runs JavaScript; the clients are installed."""
    command = shutil.which("node")
    if command is None:
        raise NoClient("node is not on the PATH; `make test` says how to install it")
    if not (CLIENTS / "node_modules" / "tus-js-client-5").is_dir():
        raise NoClient("tus-js-client is not installed; `make clients` does it")
    return command


def in_camel_case(options: "DataclassInstance") -> dict[str, Any]:
    """The fields of a dataclass under the names that JavaScript gives them."""

    def rename(name: str) -> str:
        first, *rest = name.split("_")
        return first + "".join(part.title() for part in rest)

    return {rename(name): value for name, value in _plain(options).items()}


def _plain(options: "DataclassInstance") -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in asdict(options).items()
    }
