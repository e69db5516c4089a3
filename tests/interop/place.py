"""Where a client is tried: a server, a bad line to it, a file, and the judgement at the end."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.e2e.rig import MIB, assert_finished, content, hooked, upload_id
from tests.support import tus
from tests.support.clients import ClientRun
from tests.support.receiver import Receiver, receiving
from tests.support.relay import Relay, relay_to
from tests.support.server import Server, serving

SMALL_BYTES: Final = 12_345
LARGE_BYTES: Final = 3 * MIB + 12_345
TOLD_SECONDS: Final = 5.0
"""A server that has all of a file tells of it at once."""
OVERHEAD_BYTES: Final = 64 * 1024
"""Request heads, preflights and the framing of chunked bodies: what goes up besides the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a client is told to do."""

    endpoint: str
    file: Path
    metadata: Mapping[str, str]
    headers: Mapping[str, str]
    directory: Path
    """Where it may keep what it remembers from run to run."""
    previous: ClientRun | None = None
    """The run that was ended before its time, if this one shall go on with its upload."""


@dataclass(frozen=True, slots=True)
class Place:
    """A server, a bad line to it, a receiver of its events, and a file to upload."""

    server: Server
    relay: Relay
    receiver: Receiver
    directory: Path
    files: dict[int, bytes] = field(default_factory=dict)

    def order(self, size: int, *, bearer: bool = False, previous: ClientRun | None = None) -> Order:
        """To upload a file of this size, with the token in the metadata or in a header."""
        token = self.server.mint(video_id="1001", client_id="7")
        return Order(
            endpoint=self.relay.url(self.server.endpoint),
            file=self._file(size),
            metadata=tus.video_metadata(None if bearer else token, "1001", "7"),
            headers={"Authorization": f"Bearer {token}"} if bearer else {},
            directory=self.directory,
            previous=previous,
        )

    @property
    def facts(self) -> list[str]:
        """The ids of all uploads there are."""
        return [path.stem for path in (self.server.data_directory / "uploads").glob("*/*.facts")]

    @property
    def stored_bytes(self) -> int:
        """How many bytes lie in the files of all uploads."""
        files = (self.server.data_directory / "uploads").glob("*/*.bin")
        return sum(path.stat().st_size for path in files)

    async def judge(self, run: ClientRun, size: int, *, uploads: int, twice: int = 0) -> None:
        """It said once that it succeeded, the file is as it was and told to the receiver once,
        no further upload was begun, and at most so many bytes went up twice."""
        assert run.succeeded and run.successes == 1, run.story()
        assert run.error is None, run.story()
        assert run.url is not None, run.story()
        try:
            await self.receiver.told(upload_id(run.url), "upload.completed", seconds=TOLD_SECONDS)
        except TimeoutError:
            raise AssertionError(f"the upload is not complete\n{run.story()}") from None
        await assert_finished(self.server, self.receiver, run.url, self.files[size])
        assert upload_id(run.url) in self.facts
        for sent in run.requests:
            if sent.status is not None and "x-request-id" in sent.headers:
                assert sent.answer["x-request-id"] == sent.headers["x-request-id"]
        assert len(self.facts) <= uploads, run.story()
        more = self.relay.bytes_up - size
        assert more < twice + OVERHEAD_BYTES, f"{more} bytes too many went up\n{run.story()}"

    def _file(self, size: int) -> Path:
        path = self.directory / f"film-{size}.mp4"
        if size not in self.files:
            self.files[size] = content(size)
            path.write_bytes(self.files[size])
        return path


@asynccontextmanager
async def opened_place(directory: Path) -> AsyncIterator[Place]:
    """A place, with everything in it running."""
    async with receiving() as receiver:
        settings = hooked(directory / "server", receiver)
        async with (
            serving(directory / "server", settings) as server,
            relay_to(server.endpoint) as relay,
        ):
            yield Place(server, relay, receiver, directory)
