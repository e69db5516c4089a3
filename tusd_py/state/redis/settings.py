"""Settings of the state in Redis. Nothing of it is left to the client library's own defaults."""

import re
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from tusd_py.settings import Settings

DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
DEFAULT_URL: Final = "redis://127.0.0.1:6379"
MAX_BUCKETS: Final = 256

_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,32}", re.ASCII)
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+", re.ASCII)


class RedisSettings(Settings):
    """The state of many hosts: one Redis, one that sentinels watch over, or a Cluster."""

    kind: Literal["redis"] = "redis"
    url: SecretStr | None = None
    """Where one Redis is: "redis://host:6379/0", with TLS "rediss://host:6379", or
    "unix:///run/redis.sock"; user:password@ may stand before the host. Neither sentinels nor
    cluster_nodes given and "none": redis://127.0.0.1:6379."""
    sentinels: tuple[str, ...] = ()
    """The sentinels as host:port, all of them: who is master is what most of them say."""
    master_name: str | None = Field(default=None, min_length=1, max_length=128)
    """The name under which the sentinels watch over the master."""
    cluster_nodes: tuple[str, ...] = ()
    """Some nodes of a Redis Cluster as host:port, several, for one may be down; the others are
    found through them."""
    database: int | None = Field(default=None, ge=0, le=1_000_000)
    """The number of the database; a Cluster has only 0. "none": that of the URL, or 0."""
    username: str | None = Field(default=None, min_length=1)
    """The ACL user; "none": that of the URL, or the default user."""
    password_file: Path | None = None
    """A file with the password, white space around it ignored."""
    password: SecretStr | None = None
    """The password itself, best given by the environment (TUSD_PY_STATE_PASSWORD); it wins over
    password_file."""
    sentinel_username: str | None = Field(default=None, min_length=1)
    """The ACL user of the sentinels, which have users of their own."""
    sentinel_password_file: Path | None = None
    """A file with the password of the sentinels."""
    sentinel_password: SecretStr | None = None
    """The password of the sentinels itself; it wins over sentinel_password_file."""
    tls: bool = False
    """TLS to sentinels, master and nodes of a Cluster; a URL says it itself (rediss://)."""
    tls_ca_file: Path | None = None
    """The authorities that certificates of Redis are made by (PEM); "none": those of the system."""
    tls_cert_file: Path | None = None
    """This server's own certificate (PEM), where Redis wants one."""
    tls_key_file: Path | None = None
    """The key of that certificate; "none": it is in the same file."""
    tls_check_host_name: bool = True
    """Whether a certificate must name the host that is connected to. Sentinels and Clusters usually
    tell addresses, which must be in the certificates then."""
    prefix: str = "tusd"
    """What every key and channel begins with; installations that share a Redis have different
    ones, also where they use different databases."""
    buckets: int = Field(default=MAX_BUCKETS, ge=1, le=MAX_BUCKETS)
    """Into how many parts the state is divided, each in one slot of a Cluster; a power of two. It
    cannot be changed later."""
    call_seconds: float = Field(default=2.0, ge=0.1, le=30.0)
    """Every call ends within this time, whatever becomes of Redis. Less than a lease."""
    connect_seconds: float = Field(default=1.0, ge=0.05, le=30.0)
    """To connect, TLS and password included."""
    connections: int = Field(default=4, ge=1, le=64)
    """Most connections of one process to one master, besides the one that hears of others. Calls
    travel together, so that a few are enough."""
    retry_first_seconds: float = Field(default=0.05, gt=0, le=10.0)
    """The longest pause before the first new connection after a failure; it doubles with each
    further one. A pause is random up to that, so that servers do not come all at once."""
    retry_cap_seconds: float = Field(default=1.0, gt=0, le=60.0)
    """No pause is longer."""

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parse_url(url.get_secret_value())
        return url

    @field_validator("sentinels", "cluster_nodes")
    @classmethod
    def _are_addresses(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            parse_host(text, DEFAULT_PORT)
        if len(set(texts)) < len(texts):
            raise ValueError("must not name one twice")
        return texts

    @field_validator("prefix")
    @classmethod
    def _is_plain(cls, prefix: str) -> str:
        if not _PREFIX.fullmatch(prefix):
            raise ValueError("must be 1 to 32 letters, digits, or one of _ . : -")
        return prefix

    @field_validator("buckets")
    @classmethod
    def _is_power_of_two(cls, buckets: int) -> int:
        if buckets & (buckets - 1):
            raise ValueError("must be a power of two")
        return buckets

    @model_validator(mode="after")
    def _agree(self) -> Self:
        kinds = [bool(self.url), bool(self.sentinels), bool(self.cluster_nodes)]
        if sum(kinds) > 1:
            raise ValueError("takes only one of url, sentinels and cluster_nodes")
        if self.sentinels and self.master_name is None:
            raise ValueError("sentinels need master_name: which of their masters is meant")
        if not self.sentinels and (self.master_name or self._has_sentinel_credentials):
            raise ValueError("master_name and sentinel_… mean nothing without sentinels")
        if self.cluster_nodes and self.database:
            raise ValueError("a Cluster has only database 0")
        if self.url is not None:
            self._agree_with_url(parse_url(self.url.get_secret_value()))
        if not self.uses_tls and (self.tls_ca_file or self.tls_cert_file or self.tls_key_file):
            raise ValueError("tls_… files mean nothing without TLS: set tls, or a rediss:// url")
        if self.tls_key_file and not self.tls_cert_file:
            raise ValueError("tls_key_file needs tls_cert_file")
        if self.connect_seconds > self.call_seconds:
            raise ValueError("connect_seconds must not be more than call_seconds")
        if self.retry_first_seconds > self.retry_cap_seconds:
            raise ValueError("retry_first_seconds must not be more than retry_cap_seconds")
        return self

    def _agree_with_url(self, url: "ParsedUrl") -> None:
        if self.tls and url.scheme != "rediss":
            raise ValueError("tls with a url is written as rediss://")
        if url.password is not None and (self.password or self.password_file):
            raise ValueError("the password is given twice: in the url and beside it")
        if url.username is not None and self.username:
            raise ValueError("the user is given twice: in the url and beside it")
        if url.database is not None and self.database not in (None, url.database):
            raise ValueError("the database is given twice: in the url and beside it")

    @property
    def _has_sentinel_credentials(self) -> bool:
        return bool(self.sentinel_username or self.sentinel_password or self.sentinel_password_file)

    @property
    def parsed_url(self) -> "ParsedUrl | None":
        """None for sentinels and a Cluster."""
        if self.sentinels or self.cluster_nodes:
            return None
        return parse_url(self.url.get_secret_value() if self.url else DEFAULT_URL)

    @property
    def uses_tls(self) -> bool:
        url = self.parsed_url
        return self.tls or (url is not None and url.scheme == "rediss")


class ParsedUrl:
    """What a URL says. It never shows its password."""

    def __init__(self, url: str) -> None:
        """Raises ValueError with a sentence that repeats nothing of the URL."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError("must be a URL like redis://host:6379") from None
        self.scheme = parts.scheme
        self.username = unquote(parts.username) if parts.username else None
        self.password = unquote(parts.password) if parts.password is not None else None
        self.path: str | None = None
        self.host, self.port = "", 0
        self.database: int | None = None
        if parts.scheme == "unix":
            if parts.hostname or not parts.path.strip("/"):
                raise ValueError("a unix URL has an absolute path: unix:///run/redis.sock")
            self.path = unquote(parts.path)
        elif parts.scheme in ("redis", "rediss"):
            self.host, self.port = parts.hostname or "", port or DEFAULT_PORT
            if not self.host:
                raise ValueError("must name a host, like redis://host:6379")
            self.database = _parse_database(parts.path)
        else:
            raise ValueError("must begin with redis://, rediss:// or unix://")
        if parts.query or parts.fragment:
            raise ValueError("must have no ? and no #: what is set otherwise has settings here")


def parse_url(url: str) -> ParsedUrl:
    return ParsedUrl(url)


def parse_host(text: str, default_port: int) -> tuple[str, int]:
    """Host and port of ``host:port``. Raises ValueError with a sentence."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(default_port)
    if not _HOST.fullmatch(host) or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII):
        raise ValueError("must be written as host:port")
    if not 0 < int(port) < 65536:
        raise ValueError("must have a port from 1 to 65535")
    return host.strip("[]"), int(port)


def _parse_database(path: str) -> int | None:
    text = path.strip("/")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,7}", text, re.ASCII):
        raise ValueError("may have the number of a database as its path, nothing else")
    return int(text)
