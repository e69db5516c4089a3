"""The tus requests a test makes most, one function each, on a connection or on one of their own.

Every function takes a ``Wire`` or a URL first. ``headers`` override what the function sends;
an empty value leaves the header away.
"""

import base64
from collections.abc import Mapping
from urllib.parse import urljoin

from tests.support.wire import Response, Wire, connected, path_of

OFFSET_STREAM = "application/offset+octet-stream"
TUS = {"Tus-Resumable": "1.0.0"}
Given = Mapping[str, str] | None


def encode_metadata(metadata: Mapping[str, str | bytes]) -> str:
    """``Upload-Metadata`` of these pairs."""
    pairs = []
    for key, value in metadata.items():
        raw = value.encode() if isinstance(value, str) else value
        pairs.append(f"{key} {base64.b64encode(raw).decode()}".rstrip())
    return ",".join(pairs)


def video_metadata(
    token: str | None, video_id: str, client_id: str, filename: str = "film.mp4"
) -> dict[str, str]:
    """The metadata that every client of the platform sends."""
    pairs = {"filename": filename, "client_id": client_id, "video_id": video_id}
    return pairs if token is None else pairs | {"token": token}


async def create(
    endpoint: str,
    *,
    length: int | None = None,
    metadata: Mapping[str, str | bytes] | None = None,
    bearer: str | None = None,
    body: bytes | None = None,
    headers: Given = None,
    wire: Wire | None = None,
) -> Response:
    """POST. Without ``length`` it is deferred; with ``body`` it is creation-with-upload."""
    sent = dict(TUS)
    sent |= {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
    if metadata:
        sent["Upload-Metadata"] = encode_metadata(metadata)
    if bearer is not None:
        sent["Authorization"] = f"Bearer {bearer}"
    if body is not None:
        sent["Content-Type"] = OFFSET_STREAM
    return await _ask("POST", endpoint, sent, headers, b"" if body is None else body, wire)


async def patch(
    url: str, offset: int, data: bytes, *, headers: Given = None, wire: Wire | None = None
) -> Response:
    """PATCH ``data`` at ``offset``, with Content-Length."""
    sent = TUS | {"Upload-Offset": str(offset), "Content-Type": OFFSET_STREAM}
    return await _ask("PATCH", url, sent, headers, data, wire)


async def head(url: str, *, headers: Given = None, wire: Wire | None = None) -> Response:
    """HEAD of an upload."""
    return await _ask("HEAD", url, TUS, headers, None, wire)


async def delete(url: str, *, headers: Given = None, wire: Wire | None = None) -> Response:
    """DELETE, the termination extension."""
    return await _ask("DELETE", url, TUS, headers, None, wire)


async def options(url: str, *, headers: Given = None, wire: Wire | None = None) -> Response:
    """OPTIONS: what the server can do."""
    return await _ask("OPTIONS", url, {}, headers, None, wire)


async def upload(
    endpoint: str, data: bytes, *, metadata: Mapping[str, str | bytes], bearer: str | None = None
) -> str:
    """Create and send in one PATCH; the upload's URL. Fails on any other answer than success."""
    async with connected(endpoint) as wire:
        created = await create(
            endpoint, length=len(data), metadata=metadata, bearer=bearer, wire=wire
        )
        assert created.status == 201, (created.status, created.text)
        url = urljoin(endpoint, created.location)
        if data:
            done = await patch(url, 0, data, wire=wire)
            assert (done.status, done.offset) == (204, len(data)), (done.status, done.text)
        return url


async def begin_patch(
    wire: Wire, url: str, offset: int, length: int, *, headers: Given = None
) -> None:
    """Send the head of a PATCH of ``length`` bytes and leave the body to the test."""
    sent = TUS | {"Upload-Offset": str(offset), "Content-Type": OFFSET_STREAM}
    sent = _merged(sent | {"Content-Length": str(length)}, headers)
    await wire.send_head("PATCH", path_of(url), sent)


async def begin_chunked_patch(
    wire: Wire, url: str, offset: int, *, expect: bool = False, headers: Given = None
) -> None:
    """Send the head of a chunked PATCH; go on with ``wire.send_chunk`` and ``end_chunks``."""
    sent = TUS | {"Upload-Offset": str(offset), "Content-Type": OFFSET_STREAM}
    sent = sent | {"Transfer-Encoding": "chunked"} | ({"Expect": "100-continue"} if expect else {})
    await wire.send_head("PATCH", path_of(url), _merged(sent, headers))


async def _ask(
    method: str,
    url: str,
    sent: Mapping[str, str],
    headers: Given,
    body: bytes | None,
    wire: Wire | None,
) -> Response:
    merged = _merged(sent, headers)
    if wire is not None:
        return await wire.request(method, path_of(url), merged, body)
    async with connected(url) as own:
        return await own.request(method, path_of(url), merged, body)


def _merged(sent: Mapping[str, str], headers: Given) -> dict[str, str]:
    given = dict(headers or {})
    lower = {name.lower() for name in given}
    kept = {name: value for name, value in sent.items() if name.lower() not in lower}
    return kept | {name: value for name, value in given.items() if value != ""}
