"""A sink over HTTP: each event is POSTed as a CloudEvent, signed by the Standard Webhooks scheme.

2xx takes the event for good. Anything else, also a redirect and 410, has not taken it: it is tried
again until the outbox gives up. A receiver that is gone for good is taken out of the configuration.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    encode_basic_auth,
)
from pydantic import Field, SecretStr, field_validator
from yarl import URL

from tusd_py import __version__
from tusd_py.core.events import Event
from tusd_py.hooks.base import DeliveryFailed, EventSink, Gate, Moment
from tusd_py.hooks.cloudevents import CONTENT_TYPE, build_cloud_event
from tusd_py.hooks.kinds import Hook, HookSettings, HookUnusable
from tusd_py.hooks.signing import MAKE_A_SECRET, build_signature_headers, parse_secrets

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES: Final = 64 * 1024
"""More of an answer is not read: its connection is closed instead."""
MAX_HEADER_BYTES: Final = 8 * 1024
MAX_SECRET_FILE_BYTES: Final = 16 * 1024
DNS_CACHE_SECONDS: Final = 10
PAUSES: Final = frozenset({429, 503})
"""Statuses whose ``Retry-After`` is honoured (RFC 6585, 4; RFC 9110, 15.6.4)."""
RESERVED_HEADERS: Final = frozenset(
    {"connection", "content-length", "content-type", "expect", "host", "transfer-encoding"}
    | {"webhook-id", "webhook-signature", "webhook-timestamp"}
)

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


class WebhookSettings(HookSettings):
    """A receiver of events over HTTP."""

    url: Annotated[str, Field(repr=False, max_length=4096)]
    """Where events are POSTed, http or https; user:password@ becomes basic authentication."""
    secret_file: Path | None = None
    """A file with the signing secret, whsec_ and Base64; with several (white space between), each
    one signs."""
    secret: SecretStr | None = None
    """The secret itself, best given by the environment; it wins over secret_file."""
    headers: dict[str, SecretStr] = Field(default_factory=dict, max_length=32)
    """Further headers of each request."""
    connect_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """To connect, TLS included; the whole delivery has deadline_seconds."""
    idle_connection_seconds: Annotated[float, Field(ge=0, le=3600)] = 15.0
    """How long an idle connection is kept for the next event."""

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        try:
            parsed = URL(url)
            is_good = parsed.scheme in ("http", "https") and bool(parsed.host)
        except ValueError:
            is_good = False
        if not is_good:
            raise ValueError("must be an http or https URL with a host")
        return url

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not _TOKEN.fullmatch(name):
                raise ValueError("a name is not one of an HTTP header")
            if name.lower() in RESERVED_HEADERS:
                raise ValueError(f"{name} is set by the delivery itself")
            text = value.get_secret_value()
            if not text.isprintable() or not text.isascii():
                raise ValueError(f"the value of {name} must be printable ASCII")
        return headers


class WebhookSink(Hook, EventSink):
    """Delivers events to one URL. Redirects are not followed, proxies not taken from outside."""

    settings_type = WebhookSettings

    def __init__(
        self,
        settings: WebhookSettings,
        *,
        source: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``source``: who tells, a URI reference. Blocking where the secret lies in a file."""
        super().__init__(settings)
        url = URL(settings.url)
        self._settings = settings
        self._url = url.with_user(None).with_fragment(None)
        self._shown_url = str(self._url.with_query(None))
        self._headers = _build_headers(settings, url)
        self._secrets = _load_secrets(settings)
        self._source = source
        self._now = now
        self._session: ClientSession | None = None

    def __repr__(self) -> str:
        return f"WebhookSink({self.name!r}, {self._shown_url!r})"

    @property
    def sink(self) -> EventSink:
        return self

    @property
    def gates(self) -> Mapping[Moment, Gate]:
        return MappingProxyType({})

    async def deliver(self, event: Event) -> None:
        body = build_cloud_event(event, source=self._source)
        now = self._now()
        signature = build_signature_headers(
            self._secrets, message_id=event.id, timestamp=int(now), body=body
        )
        try:
            async with self._opened().post(
                self._url,
                data=body,
                headers=self._headers | signature,
                allow_redirects=False,
            ) as response:
                await _read_away(response)
                status = response.status
                asked = parse_retry_after(response.headers.get("Retry-After"), now=now)
        except TimeoutError as exc:
            raise DeliveryFailed(f"no answer from {self._shown_url} in time") from exc
        except (ClientError, OSError, ValueError) as exc:
            # The text of aiohttp's errors may quote the URL with its query: only the type is told.
            reason = f"no answer from {self._shown_url} ({type(exc).__name__})"
            raise DeliveryFailed(reason) from exc
        if not 200 <= status <= 299:
            raise DeliveryFailed(
                f"{self._shown_url} answered {status}",
                retry_after_seconds=asked if status in PAUSES else None,
            )

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def _opened(self) -> ClientSession:
        # Made at the first delivery, because a session belongs to the running loop.
        if self._session is None:
            settings = self._settings
            self._session = ClientSession(
                connector=TCPConnector(
                    limit=settings.concurrency,
                    keepalive_timeout=settings.idle_connection_seconds,
                    ttl_dns_cache=DNS_CACHE_SECONDS,
                ),
                timeout=ClientTimeout(
                    total=settings.deadline_seconds,
                    connect=None,  # it would count the wait for a free connection
                    sock_connect=settings.connect_seconds,
                    sock_read=settings.deadline_seconds,
                ),
                cookie_jar=DummyCookieJar(),
                # An answer is thrown away, never unpacked.
                auto_decompress=False,
                trust_env=False,
                read_bufsize=MAX_ANSWER_BYTES,
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
            )
        return self._session


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Seconds from now that ``Retry-After`` asks for; None where it says nothing readable.

    RFC 9110, 10.2.3: a number of seconds or an HTTP-date. The policy bounds it.
    """
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000": a date in UTC, RFC 5322, 3.3
        moment = moment.replace(tzinfo=UTC)
    try:
        return max(0.0, moment.timestamp() - now)
    except OverflowError:
        return None


async def _read_away(response: ClientResponse) -> None:
    """Read a short answer to its end, so that the connection can be used again."""
    seen = 0
    async for chunk in response.content.iter_any():
        seen += len(chunk)
        if seen > MAX_ANSWER_BYTES:
            response.close()
            return


def _build_headers(settings: WebhookSettings, url: URL) -> dict[str, str]:
    headers = {"User-Agent": f"tusd_py/{__version__}", "Content-Type": CONTENT_TYPE}
    if url.user is not None:
        headers["Authorization"] = encode_basic_auth(url.user, url.password or "")
    given = {name: value.get_secret_value() for name, value in settings.headers.items()}
    overridden = {name.lower() for name in given}
    return {name: text for name, text in headers.items() if name.lower() not in overridden} | given


def _load_secrets(settings: WebhookSettings) -> tuple[bytes, ...]:
    if settings.secret is not None:
        text = settings.secret.get_secret_value()
    elif settings.secret_file is not None:
        text = _read_secret_file(settings)
    else:
        raise HookUnusable(
            f"the hook {settings.name} needs a secret (secret_file, or the environment's "
            f"TUSD_PY_HOOKS_<NAME>_SECRET); make one with {MAKE_A_SECRET}"
        )
    try:
        return parse_secrets(text)
    except ValueError as exc:
        raise HookUnusable(f"the secret of the hook {settings.name}: {exc}") from exc


def _read_secret_file(settings: WebhookSettings) -> str:
    path = settings.secret_file or Path()
    try:
        with path.open("rb") as file:
            return file.read(MAX_SECRET_FILE_BYTES).decode("ascii")
    except OSError as exc:
        raise HookUnusable(
            f"the secret file {path} of the hook {settings.name} cannot be read: {exc.strerror}"
        ) from exc
    except UnicodeDecodeError as exc:
        raise HookUnusable(
            f"the secret file {path} of the hook {settings.name} is no text"
        ) from exc
