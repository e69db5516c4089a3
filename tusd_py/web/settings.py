"""Settings of the HTTP edge: where it listens, what it believes, how long it waits."""

import ipaddress
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, field_validator, model_validator

from tusd_py.protocol.cors import ANY_ORIGIN
from tusd_py.settings import Settings

KIB = 1024
UNIX_PEER = "unix"
"""The name of peers that come over a Unix socket, in ``trusted_proxies``."""


class HttpSettings(Settings):
    """How clients reach the server."""

    host: str = "127.0.0.1"
    """Address to listen on; "0.0.0.0" or "::" for all."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """0: any free port."""
    base_path: str = "/upload/"
    """The path of the tus endpoint, served with and without its last slash."""
    public_url: str | None = None
    """What clients put before base_path to reach this server, like "https://upload.example.com";
    uploads' addresses are made with it. "none": taken from each request."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks ("10.0.0.0/8", or "unix" for a Unix socket) whose Forwarded and
    X-Forwarded-Proto and -Host headers are believed."""
    cors_origins: tuple[str, ...] = (ANY_ORIGIN,)
    """Origins whose scripts may upload, exactly as browsers send them ("https://example.com"); "*":
    all."""
    cors_credentials: bool = False
    """Whether scripts may send cookies along; needs a list of origins."""
    cors_extra_allowed: tuple[str, ...] = ()
    """Further request headers that scripts may send."""
    cors_extra_exposed: tuple[str, ...] = ()
    """Further response headers that scripts may read."""
    keepalive_seconds: Annotated[float, Field(ge=1, le=3600)] = 75.0
    """An idle connection, and one whose request does not get complete, is closed after this
    time."""
    max_line_bytes: Annotated[ByteSize, Field(ge=KIB, le=64 * KIB)] = ByteSize(8 * KIB)
    """Longest request line."""
    max_headers: Annotated[int, Field(ge=16, le=1000)] = 128
    """Most header fields of one request."""
    max_metadata_bytes: Annotated[ByteSize, Field(ge=KIB, le=256 * KIB)] = ByteSize(16 * KIB)
    """Longest Upload-Metadata, all its lines together. Other header fields get no more either."""
    ignore_hex_checksums: bool = True
    """Whether an Upload-Checksum that is a digest's hexadecimal text (the tusc client sends that of
    the whole file) is ignored; else it is refused."""
    interim_answers: Literal["direct", "always", "never"] = "direct"
    """When clients hear interim answers (104), by which phones learn that they can go on: "direct"
    where no header of a proxy (Via, Forwarded, X-Forwarded-...) is in the request, for some break
    on them (nginx); "always" where the proxy passes them on (Caddy); "never"."""
    one_shot: bool = True
    """Whether files are also taken from clients that know no upload protocol: forms, and bodies of
    PUT and POST."""
    max_form_files: Annotated[int, Field(ge=1, le=1000)] = 16
    """Most files of one form; each becomes an upload of its own."""
    read_buffer_bytes: Annotated[ByteSize, Field(ge=4 * KIB, le=16 * KIB * KIB)] = ByteSize(
        256 * KIB
    )
    """How much of a body may wait in memory for the store; twice as much at the most."""
    body_idle_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """A body of which nothing comes for this time is ended; what came is kept."""
    min_bytes_per_second: Annotated[float, Field(ge=0)] = 100.0
    """A body of which less comes, on average over body_idle_seconds, is ended; what came is kept.
    0: however slow."""
    answer_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    """A client that does not take its answers for this time is cut off."""
    refusal_drain_bytes: Annotated[ByteSize, Field(ge=0)] = ByteSize(KIB * KIB)
    """So much of the body of a refused request is read and thrown away, so that a client that is
    still sending can read why."""
    refusal_drain_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """For at most this time."""
    backlog: Annotated[int, Field(ge=1, le=65535)] = 1024
    """Connections that may wait to be accepted."""
    metrics: bool = True
    """Whether /metrics is served."""

    @field_validator("base_path")
    @classmethod
    def _is_path(cls, path: str) -> str:
        if not path.startswith("/") or path.startswith("//") or not set(path) <= _PATH_CHARS:
            raise ValueError("must be an absolute path of plain characters, like /upload/")
        if path.strip("/") == "":
            raise ValueError("must not be the root: other resources have their places there")
        return path.rstrip("/") + "/"

    @field_validator("public_url")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query:
            raise ValueError("must be an http or https URL without a query")
        if parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("must be plain ASCII without a fragment")
        return url.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name != UNIX_PEER:
                ipaddress.ip_network(name, strict=False)
        return names

    @field_validator("cors_origins", "cors_extra_allowed", "cors_extra_exposed")
    @classmethod
    def _are_field_values(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if any(not v or not v.isascii() or not v.isprintable() or " " in v for v in values):
            raise ValueError("must be printable ASCII without spaces")
        return values

    @model_validator(mode="after")
    def _credentials_need_a_list(self) -> "HttpSettings":
        if self.cors_credentials and ANY_ORIGIN in self.cors_origins:
            raise ValueError("cors_credentials needs cors_origins other than *")
        return self


_PATH_CHARS = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@/"
)
