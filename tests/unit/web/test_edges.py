"""Rare ends of connections, sockets handed over, and what is only logged."""

import asyncio
import base64
import logging
import socket
from pathlib import Path

import pytest

from tests.support.wire import Wire
from tests.unit.web.rig import PATCH, Rig, running, until
from tusd_py.core.errors import StateUnavailable
from tusd_py.streams import SourceEnd
from tusd_py.web.request_id import REQUEST_ID, choose_request_id, present_request_id
from tusd_py.web.settings import HttpSettings
from tusd_py.web.site import SiteParts, start_site

MIB = 1024 * 1024


async def test_what_a_slow_reader_had_not_taken_survives_a_reset(rig: Rig, wire: Wire) -> None:
    """aiohttp raises at once and leaves what it had received in its buffer."""
    path = await rig.an_upload(wire, MIB)
    await wire.send_head("PATCH", path, {**PATCH, "Upload-Offset": "0", "Content-Length": str(MIB)})
    await wire.send(b"x" * 10)
    await rig.uploads.reaches(10)
    rig.uploads.pause.clear()
    await wire.send(b"x" * 100_000)
    (connection,) = rig.connections()
    # One more read was outstanding when the pause began; the rest waits in the buffer.
    await until(lambda: connection._last_payload.total_bytes == 100_010)
    await wire.reset()
    await rig.lost()
    rig.uploads.pause.set()
    assert await rig.uploads.ends.get() is SourceEnd.HUNG_UP
    assert len(rig.bytes_of(path)) == 100_010


async def test_a_client_that_never_stops_sending_is_held_back_and_then_cut() -> None:
    """Not one byte over the bound is read from it, not counting what was on its way."""
    async with running(refusal_drain_bytes=65536, refusal_drain_seconds=0.3) as rig:
        wire = await rig.wire()
        path = await rig.an_upload(wire)
        head = {**PATCH, "Upload-Offset": "9", "Content-Length": str(1 << 40)}
        await wire.send_head("PATCH", path, head)
        assert (await wire.read_response()).closes
        with pytest.raises(ConnectionError):
            while True:
                await wire.send(b"x" * MIB)
        await rig.idle()
        assert rig.bytes_of(path) == b""


async def test_a_client_that_takes_no_answers_is_cut_off() -> None:
    """It asks and reads nothing: what waits for it is not kept for ever."""
    async with running(answer_seconds=0.2) as rig:
        rig.page = b"x" * (16 * MIB)
        sock = socket.create_connection(("127.0.0.1", rig.site.port))
        sock.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: len(rig.connections()) == 1)
        await rig.lost()
        await rig.idle()
        sock.close()


async def test_a_creation_that_cannot_be_forgotten_is_left_to_expire(
    rig: Rig, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    rig.uploads.before_answer.clear()
    await wire.send_head("POST", "/upload/", {**PATCH, "Upload-Length": "1", "Content-Length": "1"})
    await wire.send(b"x")
    await rig.uploads.ends.get()
    await wire.reset()
    await rig.lost()
    rig.uploads.fails_with.append(StateUnavailable())
    rig.uploads.before_answer.set()
    await rig.idle()
    assert "forget_failed" in caplog.messages


async def test_a_refusal_nobody_hears_forgets_nothing(rig: Rig, wire: Wire) -> None:
    rig.uploads.before_answer.clear()
    await wire.send_head("POST", "/upload/", {**PATCH, "Upload-Length": "1", "Content-Length": "1"})
    await wire.send(b"x")
    await rig.uploads.ends.get()
    await wire.reset()
    await rig.lost()
    rig.uploads.answers_with = StateUnavailable()
    rig.uploads.before_answer.set()
    await rig.idle()
    assert rig.uploads.forgotten == []


async def test_a_checksum_is_ignored_with_a_line_in_the_log(
    rig: Rig, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    """One known client sends the hexadecimal digest of its whole file with every body."""
    caplog.set_level(logging.INFO, "tusd_py")
    path = await rig.an_upload(wire)
    value = "sha1 " + base64.b64encode(b"0" * 40).decode()
    fields = {**PATCH, "Upload-Offset": "0", "Upload-Checksum": value}
    assert (await wire.request("PATCH", path, fields, b"abc")).status == 204
    assert "checksum_ignored" in caplog.messages


async def test_requests_are_logged_by_route_and_never_by_path(
    rig: Rig, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tusd_py.web.app")
    await wire.request("GET", "/secret-path", {"X-Request-ID": "r-1", "Authorization": "Bearer t"})
    (record,) = (r for r in caplog.records if r.message == "request")
    said = vars(record)
    assert (said["route"], said["status"], said["code"]) == ("none", 404, "ERR_NOT_FOUND")
    assert said["request_id"] == "r-1"
    assert "secret-path" not in repr(said) and "Bearer" not in repr(said)


async def test_a_socket_that_was_handed_over_is_served(rig: Rig, tmp_path: Path) -> None:
    """Whoever supervises several processes listens once for all of them."""

    async def ready() -> dict[str, bool]:
        return {}

    parts = SiteParts(uploads=rig.uploads, access=rig.access, ready=ready)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "edge"))
    site = await start_site(parts, HttpSettings(), sock)
    assert (site.port, len(site.sockets)) == (0, 1)
    reader, writer = await asyncio.open_unix_connection(tmp_path / "edge")
    writer.write(b"OPTIONS /upload/ HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 204 No Content\r\n"
    writer.close()
    await writer.wait_closed()
    await site.stop(1.0)
    assert (site.port, site.sockets) == (0, ())


def test_an_id_is_taken_over_only_where_it_is_harmless() -> None:
    assert choose_request_id("a.B_c-1") == "a.B_c-1"
    for offered in (None, "", "a b", "a\nb", "é", "x" * 129):
        assert choose_request_id(offered) != offered
        assert len(choose_request_id(offered)) == 24


async def test_the_id_is_known_to_the_log_for_the_time_of_the_request() -> None:
    assert present_request_id() is None
    marker = REQUEST_ID.set("r")
    assert present_request_id() == "r"
    REQUEST_ID.reset(marker)
