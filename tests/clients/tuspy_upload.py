"""Uploads one file with tuspy and tells in JSON lines what happens.

The options come as JSON in the first argument; tests/support/clients.py describes them.
"""

import asyncio
import itertools
import json
import sys
import warnings
from typing import Any

import aiohttp
import requests
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError
from tusclient.storage.filestorage import FileStorage

numbers = itertools.count()


def tell(event: str, **details: Any) -> None:
    print(json.dumps({"event": event, **details}), flush=True)


def listen_to_requests() -> None:
    """tuspy calls ``requests`` in several ways; all of them go through ``Session.send``."""
    send = requests.Session.send

    def telling(self: requests.Session, request: requests.PreparedRequest, **options: Any) -> Any:
        number = next(numbers)
        sent = {name.lower(): _text(value) for name, value in request.headers.items()}
        tell("request", id=number, method=request.method, url=request.url, headers=sent)
        try:
            answer = send(self, request, **options)
        except requests.RequestException as error:
            tell("broken", id=number, message=str(error))
            raise
        received = {name.lower(): value for name, value in answer.headers.items()}
        tell("response", id=number, status=answer.status_code, headers=received)
        return answer

    requests.Session.send = telling  # type: ignore[method-assign]


def listen_to_async_requests() -> None:
    """The AsyncUploader asks by aiohttp, except for the offset, which it asks by ``requests``."""
    session: Any = aiohttp.ClientSession
    ask = session._request

    async def telling(self: Any, method: str, url: Any, **options: Any) -> Any:
        number = next(numbers)
        sent = {name.lower(): str(value) for name, value in options["headers"].items()}
        tell("request", id=number, method=method.upper(), url=str(url), headers=sent)
        try:
            answer = await ask(self, method, url, **options)
        except aiohttp.ClientError as error:
            tell("broken", id=number, message=str(error))
            raise
        received = {name.lower(): value for name, value in answer.headers.items()}
        tell("response", id=number, status=answer.status, headers=received)
        return answer

    session._request = telling


def main() -> int:
    options = json.loads(sys.argv[1])
    listen_to_requests()
    listen_to_async_requests()
    # Warnings of the library about its own use of aiohttp say nothing about the server.
    warnings.simplefilter("ignore")
    # The library is only half typed.
    make_storage: Any = FileStorage
    client: Any = TusClient(options["endpoint"], headers=options["headers"])
    storage = make_storage(options["url_storage"]) if options["url_storage"] else None
    more = {} if options["chunk_size"] is None else {"chunk_size": options["chunk_size"]}
    make = client.async_uploader if options["is_async"] else client.uploader
    try:
        uploader = make(
            options["file"],
            metadata=options["metadata"],
            retries=options["retries"],
            retry_delay=options["retry_delay"],
            url=options["upload_url"],
            store_url=storage is not None,
            url_storage=storage,
            upload_checksum=options["upload_checksum"],
            **more,
        )
        if options["is_async"]:
            asyncio.run(upload_async(uploader))
        else:
            upload(uploader, options["stop_at"])
    except (TusCommunicationError, requests.RequestException, aiohttp.ClientError) as error:
        tell("error", message=str(error), status=getattr(error, "status_code", None))
        return 1
    finally:
        if storage is not None:
            storage.close()
    return 0


def upload(uploader: Any, stop_at: int | None) -> None:
    """``Uploader.upload``, with a word after each step."""
    size = uploader.get_file_size()
    uploader.stop_at = size if stop_at is None else stop_at
    if not uploader.url:
        uploader.set_url(uploader.create_url())
        uploader.offset = 0
        tell("created", uploadUrl=uploader.url)
    else:
        tell("found", uploadUrl=uploader.url)
    while uploader.offset < uploader.stop_at:
        uploader.upload_chunk()
        tell("progress", sent=uploader.offset, total=size)
    tell("success" if uploader.offset == size else "aborted", uploadUrl=uploader.url)


async def upload_async(uploader: Any) -> None:
    """``AsyncUploader.upload``, as it is."""
    if uploader.url:
        tell("found", uploadUrl=uploader.url)
    await uploader.upload()
    tell("success", uploadUrl=uploader.url)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    sys.exit(main())
