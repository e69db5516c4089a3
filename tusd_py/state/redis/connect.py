"""From settings to connections: TCP, TLS, Unix sockets; and who it is that answers there.

The connections are redis-py's, which know how to greet and to parse. Everything above them (pools,
retries, time-outs, discovery) is ours, because it has to be bounded.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from tusd_py.state.base import StateError
from tusd_py.state.redis.settings import RedisSettings

READ_BYTES: Final = 64 * 1024
MIN_VERSION: Final = (6, 2)
MAX_PASSWORD_FILE_BYTES: Final = 16 * 1024
KEEPALIVE: Final = True
"""So that the other end notices as well; what we await has time-outs of its own."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where one server of Redis listens."""

    host: str = ""
    port: int = 0
    path: str | None = None
    """A Unix socket instead."""

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """Who we are. Never shown."""

    username: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a server says of itself."""

    version: str
    run_id: str
    role: str
    is_cluster: bool


class Wire:
    """One connection, used by one task at a time.

    Whoever is cancelled or timed out while it waits here closes it: the next answer would belong to
    somebody else.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    async def ask(self, *command: str | bytes | int) -> Any:
        """One command and its answer. Raises RedisError, OSError."""
        await self.send(self._connection.pack_command(*command))
        return await self.read()

    async def send(self, packed: Sequence[bytes]) -> None:
        await self._connection.send_packed_command(packed, check_health=False)

    async def read(self) -> Any:
        """The next answer; an error answer is raised."""
        return await self._connection.read_response()

    async def is_stale(self) -> bool:
        """Whether the other end has closed it, or said what nobody asked for. Waits for nothing."""
        try:
            return bool(await self._connection.can_read())
        except (RedisError, OSError):
            return True

    async def close(self) -> None:
        """Without waiting for the other end."""
        await self._connection.disconnect(nowait=True)


class Dialer:
    """Makes connections as the settings want them. ``prepare`` it first."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._context: ssl.SSLContext | None = None
        self._own = Credentials()
        self._sentinels = Credentials()

    async def prepare(self) -> None:
        """Read what lies in files. Raises StateError with a sentence that says which."""
        await asyncio.to_thread(self._prepare)

    async def dial(self, address: Address, *, is_sentinel: bool = False) -> Wire:
        """A connection that is greeted, within ``connect_seconds``. Raises RedisError, OSError."""
        connection = self._make(address, is_sentinel=is_sentinel)
        try:
            async with asyncio.timeout(self._settings.connect_seconds):
                await connection.connect()  # type: ignore[no-untyped-call]
            return Wire(connection)
        except BaseException as exc:
            await connection.disconnect(nowait=True)
            if not self._is_told_in(exc):
                raise
        # Outside of the handler: nothing leads from it to what was said.
        raise AuthenticationError("the login was refused, in words that repeat it")

    async def dial_master(self, address: Address) -> tuple[Wire, Greeting]:
        """As ``dial``, to a server that serves writes. Raises also StateError: it is too old."""
        wire = await self.dial(address)
        try:
            async with asyncio.timeout(self._settings.connect_seconds):
                greeting = await greet(wire)
            self._check_kind(greeting)
        except BaseException:
            await wire.close()
            raise
        return wire, greeting

    def _check_kind(self, greeting: Greeting) -> None:
        if greeting.is_cluster and not self._settings.cluster_nodes:
            raise StateError(
                "this Redis is a node of a Cluster: name some in state.cluster_nodes, not one in "
                "state.url"
            )

    def _make(self, address: Address, *, is_sentinel: bool) -> AbstractConnection:
        who = self._sentinels if is_sentinel else self._own
        url = self._settings.parsed_url
        database = self._settings.database
        if database is None:
            database = (url.database if url is not None else None) or 0
        options: dict[str, Any] = {
            "username": who.username,
            "password": who.password,
            "db": 0 if is_sentinel else database,
            "socket_timeout": None,  # each wait has its own
            "socket_connect_timeout": self._settings.connect_seconds,
            "socket_read_size": READ_BYTES,
            "retry_on_timeout": False,
            "health_check_interval": 0,
            "protocol": 2,  # nothing of 3 is used, and not every ACL allows HELLO
            "driver_info": None,
            "client_name": None,
        }
        if address.path is not None:
            return UnixDomainSocketConnection(path=address.path, **options)
        options |= {"host": address.host, "port": address.port, "socket_keepalive": KEEPALIVE}
        if self._context is None:
            return Connection(**options)
        connection = SSLConnection(**options)
        # Made once: to load the authorities takes milliseconds, and reads files.
        connection.ssl_context.context = self._context
        return connection

    def _is_told_in(self, error: BaseException) -> bool:
        """A server that does not know AUTH repeats what it was asked."""
        secrets = (self._own.password, self._sentinels.password)
        is_said = isinstance(error, ResponseError | AuthenticationError)
        return is_said and any(secret and secret in str(error) for secret in secrets)

    def _prepare(self) -> None:
        settings, url = self._settings, self._settings.parsed_url
        password = _secret(settings.password, settings.password_file)
        if url is not None and url.password is not None:
            password = url.password
        username = settings.username or (url.username if url is not None else None)
        self._own = _credentials(username, password, "username")
        self._sentinels = _credentials(
            settings.sentinel_username,
            _secret(settings.sentinel_password, settings.sentinel_password_file),
            "sentinel_username",
        )
        if settings.uses_tls:
            self._context = _tls_context(settings)


async def greet(wire: Wire) -> Greeting:
    """Who answers. Raises StateError where it is too old, RedisError where it is no master or not
    ready."""
    text = bytes(await wire.ask("INFO")).decode("utf-8", "replace")
    said = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    greeting = Greeting(
        version=said.get("redis_version", "0"),
        run_id=said.get("run_id", ""),
        role=said.get("role", ""),
        is_cluster=said.get("cluster_enabled") == "1",
    )
    if said.get("loading") == "1":
        raise BusyLoadingError("loading")
    if parse_version(greeting.version) < MIN_VERSION:
        raise StateError(
            f"this Redis is of version {greeting.version}: version 6.2 is needed, or a Valkey"
        )
    if greeting.role != "master":
        raise ReadOnlyError("READONLY not a master")
    return greeting


def parse_version(text: str) -> tuple[int, ...]:
    """(7, 0, 15) of "7.0.15"; what is no number counts as 0."""
    return tuple(int(part) if part.isdecimal() else 0 for part in text.split(".")[:3])


def _credentials(username: str | None, password: str | None, setting: str) -> Credentials:
    if username is not None and password is None:
        raise StateError(f"state.{setting} is set and there is no password for it")
    return Credentials(username, password)


def _secret(value: Any, file: Path | None) -> str | None:
    if value is not None:
        return str(value.get_secret_value())
    if file is None:
        return None
    try:
        with file.open("rb") as opened:
            raw = opened.read(MAX_PASSWORD_FILE_BYTES + 1)
        text = raw.decode().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise StateError(f"the password file {file} cannot be read") from exc
    if not text or len(raw) > MAX_PASSWORD_FILE_BYTES:
        raise StateError(f"the password file {file} holds no password")
    return text


def _tls_context(settings: RedisSettings) -> ssl.SSLContext:
    ca = settings.tls_ca_file
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as exc:
        raise StateError(f"state.tls_ca_file {ca} cannot be used") from exc
    context.check_hostname = settings.tls_check_host_name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.tls_cert_file is not None:
        try:
            # Without a password of its own it would ask for one on the terminal.
            context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password="")
        except (OSError, ssl.SSLError) as exc:
            raise StateError(
                f"state.tls_cert_file {settings.tls_cert_file} and its key cannot be used"
            ) from exc
    return context
