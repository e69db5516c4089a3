"""A page in Chromium that uploads with Uppy or tus-js-client; ``tests/clients`` holds the page.

The page comes from an origin of its own, so the server is asked across origins, preflights
included. A run tells the same events as a client in Node. It ends when the upload has succeeded
or failed, or by the command ``close``; until then it takes commands (``ClientRun.command``):
``pause``, ``resume``, ``cancel``, ``offline``, ``online``, ``reload`` (the page is left and opened
again, the same file is chosen) and ``restore`` (opened again; the golden retriever has the file).
"""

import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.clients import CLIENTS, ClientRun, NoClient, in_camel_case, node, running_client


@dataclass(slots=True, kw_only=True)
class PageOptions:
    """Options of the client in the page, and what is done around it."""

    endpoint: str
    file: Path
    profile: Path
    """The browser's directory: what scripts keep lies there."""
    client: str = "tus"
    """``tus`` or ``uppy``."""
    version: int = 4
    """Of tus-js-client, 2 to 5; Uppy brings its own."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    chunk_size: int | None = None
    retry_delays: tuple[int, ...] = (0, 100, 200, 400, 800, 1600, 3200, 3200)
    """Milliseconds."""
    upload_length_deferred: bool | None = None
    upload_data_during_creation: bool | None = None
    override_patch_method: bool | None = None
    parallel_uploads: int | None = None
    add_request_id: bool | None = None
    protocol: str | None = None
    golden_retriever: bool = False
    """Uppy's plug-in that keeps the file itself."""
    choose: bool = True
    """Choose the file and begin. False: only open the page, the golden retriever may begin."""
    page_port: int | None = None
    """A browser that is opened again on its profile needs the same origin."""


@asynccontextmanager
async def running_page(options: PageOptions) -> AsyncIterator[ClientRun]:
    """A browser at work; killed at the end if it still runs."""
    chosen = in_camel_case(options) | {"chromium": chromium()}
    script = str(CLIENTS / "browser.mjs")
    async with running_client(node(), script, json.dumps(chosen)) as run:
        yield run


@asynccontextmanager
async def running_suite(version: int, endpoint: str, profile: Path) -> AsyncIterator[ClientRun]:
    """The end-to-end tests that this version of tus-js-client brings along, in a page. Events:
    ``spec`` (``name``, ``status``, ``why``) for each, then ``done``. They know no tokens."""
    chosen = {
        "version": version,
        "endpoint": endpoint,
        "profile": str(profile),
        "chromium": chromium(),
    }
    async with running_client(node(), str(CLIENTS / "suite.mjs"), json.dumps(chosen)) as run:
        yield run


def chromium() -> str:
    """The browser's command. Raises NoClient."""
    command = shutil.which("chromium")
    if command is None:
        raise NoClient("chromium is not on the PATH; `make test` installs it")
    return command
