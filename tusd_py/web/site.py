"""Starting to listen and stopping in order."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from tusd_py.protocol.base import Terms
from tusd_py.protocol.cors import Cors
from tusd_py.protocol.recognise import Translators
from tusd_py.web.app import Edge, Routes
from tusd_py.web.exchange import Answered, Framer, MetricsPage, Readiness, Resource
from tusd_py.web.forwarded import PublicAddress
from tusd_py.web.handler import Connection, EdgeServer, check_aiohttp
from tusd_py.web.health import Live, Ready
from tusd_py.web.metrics_page import Figures
from tusd_py.web.oneshot import OneShots, OneShotTerms
from tusd_py.web.reading import Reading, ReadingParts
from tusd_py.web.settings import HttpSettings
from tusd_py.web.uploads import AccessService, UploadService, UploadsResource

log = logging.getLogger(__name__)

CANCEL_SECONDS = 3.0
"""What a cancelled request gets to commit what it has."""
CLOSE_SECONDS = 0.5
"""What connections get whose requests have ended."""
BETWEEN_SECONDS = 0.005
FRESH_SECONDS = 1.0
"""What a connection that was just accepted gets to send its first request, at a stop."""
ACCEPT_TURNS = 5
"""Turns of the loop, at least, until a connection that it has accepted is known here."""
FIELD_NAME_BYTES = 256
"""Room for a field's name beside the longest value."""


def _count_nothing(method: str, status: int, code: str | None, seconds: float) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteParts:
    """What the edge is made of; ``compose`` puts it together."""

    uploads: UploadService
    access: AccessService
    ready: Readiness
    max_bytes: int | None = None
    """The operator's bound on uploads."""
    expire_seconds: float | None = None
    """When unfinished uploads are removed."""
    now: Callable[[], float] = time.time
    """Unix time."""
    metrics: MetricsPage | None = None
    """None: /metrics is not served."""
    answered: Answered = _count_nothing
    reading: ReadingParts | None = None
    """None: neither downloads nor status nor events."""


class Site:
    """A listening server. Made by ``start_site``."""

    def __init__(
        self,
        parts: SiteParts,
        edge: Edge,
        endpoint: UploadsResource,
        readiness: Ready,
        server: EdgeServer,
        reading: Reading,
    ) -> None:
        self._uploads = parts.uploads
        self.edge = edge
        self._endpoint = endpoint
        self._readiness = readiness
        self.server = server
        self._reading = reading
        self._listener: asyncio.Server | None = None

    async def listen(self, settings: HttpSettings, sock: socket.socket | None) -> None:
        loop = asyncio.get_running_loop()
        if sock is not None:
            self._listener = await loop.create_server(
                self.server, sock=sock, backlog=settings.backlog
            )
        else:
            self._listener = await loop.create_server(
                self.server, settings.host, settings.port, backlog=settings.backlog
            )

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """What is listened on; asyncio's own views of them."""
        return tuple(self._listener.sockets) if self._listener is not None else ()

    @property
    def port(self) -> int:
        """The port of the first socket; 0 on a Unix socket or after the stop."""
        for sock in self.sockets:
            name = sock.getsockname()
            if isinstance(name, tuple):
                return int(name[1])
        return 0

    async def stop(self, seconds: float) -> None:
        """Accept nothing more, end running bodies with what they have, wait for their answers.

        Returns within ``seconds`` and a few more for requests that have to be cancelled then.
        """
        await self._stop_listening()
        await self._first_requests()
        self.edge.is_stopping = self._endpoint.is_stopping = self._readiness.is_stopping = True
        self._uploads.stop()
        self._reading.stop()
        # One turn, so that requests that have arrived are begun and get their answers.
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(seconds):
                while self._close_idle():
                    await self.edge.wait_until_idle()
                    # Between two requests of a pipeline nothing runs.
                    await asyncio.sleep(BETWEEN_SECONDS)
        except TimeoutError:
            log.warning("stop_cancels_requests", extra={"seconds": seconds})
            await self.edge.cancel_all(CANCEL_SECONDS)
        await self.server.shutdown(CLOSE_SECONDS)
        await self._reading.close()

    def _close_idle(self) -> bool:
        """Close connections on which nothing happens; whether others are left."""
        busy = False
        for connection in self.server.connections:
            if isinstance(connection, Connection) and connection.is_idle:
                connection.force_close()
            elif connection.connected:
                busy = True
        return busy

    async def _stop_listening(self) -> None:
        """Whoever was accepted before becomes a connection: asyncio drops it once the listener is
        closed. Where another process listens on the same socket, a restart refuses nobody."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        for sock in listener.sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        for _ in range(ACCEPT_TURNS):
            await asyncio.sleep(0)
        listener.close()

    async def _first_requests(self) -> None:
        """Who was accepted a moment ago gets an answer. A connection that stays silent is not
        waited for."""
        for _ in range(50):
            connections = self.server.connections
            if not any(isinstance(one, Connection) and one.is_fresh for one in connections):
                return
            await asyncio.sleep(FRESH_SECONDS / 50)


async def start_site(
    parts: SiteParts, settings: HttpSettings, sock: socket.socket | None = None
) -> Site:
    """Listen on ``sock``, or where the settings say. Raises OSError where that cannot be."""
    check_aiohttp()
    address = PublicAddress(settings.base_path, settings.public_url, settings.trusted_proxies)
    translators = Translators(
        Terms(
            max_bytes=parts.max_bytes,
            expire_seconds=parts.expire_seconds,
            max_metadata_bytes=settings.max_metadata_bytes,
            ignores_hex_checksums=settings.ignore_hex_checksums,
            locate=address.find,
            now=parts.now,
        )
    )
    one_shots = _one_shots(parts, settings, address) if settings.one_shot else None
    reading = Reading(parts.reading, answer_seconds=settings.answer_seconds)
    endpoint = UploadsResource(
        parts.uploads, parts.access, address, translators, one_shots, reading.downloads
    )
    readiness = Ready(parts.ready)
    exact: dict[str, Resource] = {"/health/live": Live(), "/health/ready": readiness}
    exact |= reading.exact(settings.base_path)
    if settings.metrics and parts.metrics is not None:
        exact["/metrics"] = Figures(parts.metrics)
    cors = Cors(
        settings.cors_origins,
        credentials=settings.cors_credentials,
        extra_allowed=settings.cors_extra_allowed,
        extra_exposed=settings.cors_extra_exposed,
    )
    edge = Edge(
        Routes(exact, ((settings.base_path, endpoint),), reading.leaves(settings.base_path)),
        Framer(cors),
        settings,
        translators.tus,
        reading.streams,
        refusal_status=lambda: parts.access.refusal_status,
        answered=parts.answered,
    )
    site = Site(parts, edge, endpoint, readiness, make_server(edge, settings), reading)
    await site.listen(settings, sock)
    return site


def _one_shots(parts: SiteParts, settings: HttpSettings, address: PublicAddress) -> OneShots:
    return OneShots(
        parts.uploads,
        parts.access,
        address,
        OneShotTerms(
            max_bytes=parts.max_bytes,
            max_files=settings.max_form_files,
            max_metadata_bytes=settings.max_metadata_bytes,
            origins=frozenset(settings.cors_origins),
        ),
    )


def make_server(edge: Edge, settings: HttpSettings) -> EdgeServer:
    """aiohttp with every setting on purpose."""
    return EdgeServer(
        edge.handle,
        edge.handle_unparsed,
        keepalive_timeout=settings.keepalive_seconds,
        tcp_keepalive=True,
        access_log=None,  # ours has the fields we want
        max_line_size=settings.max_line_bytes,
        max_field_size=settings.max_metadata_bytes + FIELD_NAME_BYTES,
        max_headers=settings.max_headers,
        lingering_time=0,  # ours is bounded in bytes as well
        read_bufsize=settings.read_buffer_bytes,
        auto_decompress=False,  # an offset counts the bytes on the wire
    )
