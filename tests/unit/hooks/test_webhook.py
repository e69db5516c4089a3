"""Deliveries over HTTP, against a real receiver."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.receiver import Answer, receiving, verify_signature
from tests.unit.hooks.events import SECRET, SOURCE, a_webhook, an_event
from tusd_py.hooks.base import DeliveryFailed
from tusd_py.hooks.kinds import HookUnusable
from tusd_py.hooks.webhook import (
    MAX_ANSWER_BYTES,
    WebhookSettings,
    WebhookSink,
    parse_retry_after,
)

OTHER_SECRET = "whsec_" + "QUJD" * 12


async def deliver(sink: WebhookSink) -> None:
    try:
        await sink.deliver(an_event())
    finally:
        await sink.close()


async def test_a_delivery_is_a_signed_cloud_event() -> None:
    """The receiver verifies the signature with code of its own."""
    async with receiving(SECRET) as receiver:
        await deliver(a_webhook(receiver.url))
    (delivery,) = receiver.deliveries
    assert delivery.problem is None
    assert delivery.headers["Content-Type"] == "application/cloudevents+json"
    assert delivery.headers["webhook-id"] == an_event().id == delivery.event_id
    assert delivery.event["source"] == SOURCE
    assert delivery.data == json.loads(json.dumps(an_event().data))


async def test_each_secret_of_a_rotation_signs(tmp_path: Path) -> None:
    """A receiver that knows only one of them is content."""
    file = tmp_path / "secrets"
    file.write_text(f"{OTHER_SECRET}\n{SECRET}\n")
    async with receiving(SECRET) as receiver:
        # The file is read before the server runs; here a loop runs already.
        sink = await asyncio.to_thread(a_webhook, receiver.url, secret=None, secret_file=file)
        await deliver(sink)
    (delivery,) = receiver.deliveries
    assert delivery.problem is None
    verify_signature(OTHER_SECRET, delivery.headers, delivery.body, now=time.time())


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_2xx_takes_the_event(status: int) -> None:
    """Any of them."""
    async with receiving(SECRET) as receiver:
        receiver.answer(Answer(status))
        await deliver(a_webhook(receiver.url))


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 410, 422, 429, 500, 502, 503])
async def test_any_other_answer_has_not_taken_it(status: int) -> None:
    """410 too: who is gone for good is taken out of the configuration."""
    async with receiving(SECRET) as receiver:
        receiver.answer(Answer(status))
        with pytest.raises(DeliveryFailed, match=f"answered {status}$") as caught:
            await deliver(a_webhook(receiver.url))
    assert caught.value.retry_after_seconds is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    """The event, and what signs it, goes to the configured place only."""
    async with receiving(SECRET) as receiver, receiving(SECRET) as elsewhere:
        receiver.answer(Answer(status, {"Location": elsewhere.url}))
        with pytest.raises(DeliveryFailed):
            await deliver(a_webhook(receiver.url))
        assert not elsewhere.deliveries


@pytest.mark.parametrize(("status", "seconds"), [(429, 7.0), (503, 7.0), (500, None), (400, None)])
async def test_retry_after_is_read_where_it_means_a_pause(
    status: int, seconds: float | None
) -> None:
    """With 429 and 503."""
    async with receiving(SECRET) as receiver:
        receiver.answer(Answer(status, {"Retry-After": "7"}))
        with pytest.raises(DeliveryFailed) as caught:
            await deliver(a_webhook(receiver.url))
    assert caught.value.retry_after_seconds == seconds


async def test_nobody_listening_is_a_failure() -> None:
    """The reason names the receiver."""
    async with receiving(SECRET) as receiver:
        url = receiver.url
    with pytest.raises(DeliveryFailed, match=rf"^no answer from {url} \(Client"):
        await deliver(a_webhook(url))


async def test_an_answer_that_does_not_come_is_a_failure_at_the_deadline() -> None:
    """The request is given up."""
    async with receiving(SECRET) as receiver:
        receiver.answer(Answer(hang=True))
        with pytest.raises(DeliveryFailed, match="in time"):
            await deliver(a_webhook(receiver.url, deadline_seconds=0.05))
        assert len(receiver.deliveries) == 1


async def raw_server(answer: bytes) -> tuple[asyncio.Server, str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        try:
            await writer.drain()
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    ],
    ids=["nothing", "no HTTP", "a huge header", "broken chunks", "a short body"],
)
async def test_an_answer_that_is_broken_is_a_failure(answer: bytes) -> None:
    """And never another exception."""
    server, url = await raw_server(answer)
    async with server:
        with pytest.raises(DeliveryFailed):
            await deliver(a_webhook(url, deadline_seconds=0.5))


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_of_a_long_answer_only_a_bounded_part_is_read(encoding: str) -> None:
    """Its status counts; a body is never unpacked."""
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n".encode()
    endless = head + b"Content-Length: 100000000\r\n\r\n" + b"x" * (4 * MAX_ANSWER_BYTES)
    server, url = await raw_server(endless)
    async with server:
        await deliver(a_webhook(url, deadline_seconds=5))


async def test_one_connection_serves_many_deliveries() -> None:
    """Answers are read to their end."""
    peers: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername"))
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nthanks")
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        sink = a_webhook(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        for _ in range(3):
            await sink.deliver(an_event())
        await sink.close()
    assert len(peers) == 1


async def test_credentials_and_headers_are_sent() -> None:
    """Basic authentication out of the URL; a header of one's own wins over ours."""
    async with receiving(SECRET) as receiver:
        url = receiver.url.replace("http://", "http://me:p%40ss@")
        await deliver(a_webhook(url, headers={"X-Tenant": "7", "user-agent": "mine"}))
    (delivery,) = receiver.deliveries
    assert delivery.headers["Authorization"] == "Basic bWU6cEBzcw=="
    assert delivery.headers["X-Tenant"] == "7"
    assert delivery.headers.getall("User-Agent") == ["mine"]


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable meant for other programs must not lead events away."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    monkeypatch.delenv("no_proxy", raising=False)
    async with receiving(SECRET) as receiver:
        await deliver(a_webhook(receiver.url))


async def test_nothing_secret_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """In settings, in the hook, or in a reason: no password, query, header or secret."""
    caplog.set_level(0)
    async with receiving(SECRET) as receiver:
        url = receiver.url
    sink = a_webhook(
        url.replace("http://", "http://me:hunter2@") + "?key=hunter2",
        headers={"X-Key": "hunter2"},
    )
    with pytest.raises(DeliveryFailed) as caught:
        await deliver(sink)
    shown = f"{sink!r} {sink._settings!r} {caught.value} {caplog.text}"
    assert url in shown
    assert "hunter2" not in shown and SECRET not in shown


async def test_a_cancelled_delivery_ends_at_once() -> None:
    """The server stops."""
    async with receiving(SECRET) as receiver:
        receiver.answer(Answer(hang=True))
        sink = a_webhook(receiver.url)
        task = asyncio.create_task(sink.deliver(an_event()))
        await receiver.next()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await sink.close()


# ------------------------------------------------------------------ Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("999999999", 999999999.0),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200.0),
        ("Thursday, 01-Jan-70 00:20:00 GMT", 200.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:20:00 -0000", 200.0),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("9" * 5000, None),
        ("Thu, 99 Jan 1970 00:20:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    """RFC 9110, 10.2.3, at 1,000 seconds past the epoch; what is neither says nothing."""
    assert parse_retry_after(value, now=1000.0) == seconds


@given(st.text())
def test_any_retry_after_is_read_as_something(value: str) -> None:
    """Never an exception, never a negative number."""
    seconds = parse_retry_after(value, now=1000.0)
    assert seconds is None or seconds >= 0


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://example.org/"},
        {"url": "example.org/hook"},
        {"url": "http://"},
        {"url": "http://exa mple:x/"},
        {"name": ""},
        {"name": "a b"},
        {"events": ["upload.finished"]},
        {"headers": {"Content-Type": "text/plain"}},
        {"headers": {"Webhook-Id": "1"}},
        {"headers": {"a b": "1"}},
        {"headers": {"X": "a\r\nY: b"}},
        {"headers": {"X": "ä"}},
        {"deadline_seconds": 0},
        {"timeout": 5},
    ],
    ids=repr,
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    """Before anything starts."""
    right = {"name": "hook", "url": "http://example.org/"}
    assert WebhookSettings.model_validate(right).events is None
    with pytest.raises(ValidationError):
        WebhookSettings.model_validate(right | wrong)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"secret": None}, "the hook hook needs a secret.*token_bytes"),
        ({"secret": "hush"}, "the secret of the hook hook: a secret must begin with whsec_"),
        ({"secret": None, "secret_file": "nowhere"}, "nowhere of the hook hook cannot be read"),
    ],
)
def test_a_hook_without_a_good_secret_stops_the_start(changes: dict[str, Any], why: str) -> None:
    """An unsigned event could be anybody's."""
    with pytest.raises(HookUnusable, match=why):
        a_webhook("http://example.org/", **changes)


def test_a_secret_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """Bytes of a key, say."""
    (tmp_path / "key").write_bytes(b"\xff" * 32)
    with pytest.raises(HookUnusable, match="key of the hook hook is no text"):
        a_webhook("http://example.org/", secret=None, secret_file=tmp_path / "key")
