"""One class per kind of client: how a library is started, whatever is then done to it.

Each runs in a process of its own and tells the same events (``tests.support.clients``). ``options``
are the library's own, in the words of the program that drives it.
"""

import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.interop.place import Order
from tests.support.browser import PageOptions, running_page
from tests.support.clients import (
    CLIENTS,
    ClientRun,
    JsOptions,
    NoClient,
    TuspyOptions,
    running_client,
    running_js,
    running_tuspy,
)

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
PATIENT: Final = (0, 100, 200, 400, 400, 400, 400, 800, 800, 1600, 1600, 3200)
"""Milliseconds, as a client's retry delays: long enough for a restart on a busy machine."""
Running = AbstractAsyncContextManager[ClientRun]
Options = Mapping[str, Any]


class Client(ABC):
    """A library, in one version, in one surrounding."""

    takes_commands = False
    """Whether a run takes ``ClientRun.command``."""
    resends = False
    """Whether something below the library sends a body again by itself when a line breaks."""

    def __init__(self, name: str, where: str, version: str) -> None:
        self.name = name
        """What its authors call it."""
        self.where = where
        self.version = version

    def __str__(self) -> str:
        return f"{self.name} {self.version} {self.where}".strip()

    @abstractmethod
    def running(self, order: Order, options: Options) -> Running:
        """It uploads; killed at the end if it still runs."""


class NodeClient(Client):
    """tus-js-client in Node."""

    takes_commands = True

    def __init__(self, major: int) -> None:
        super().__init__("tus-js-client", "in Node", locked_npm(f"tus-js-client-{major}"))
        self.major = major

    def running(self, order: Order, options: Options) -> Running:
        chosen = JsOptions(
            endpoint=order.endpoint,
            file=order.file,
            version=self.major,
            metadata=order.metadata,
            headers=order.headers,
            retry_delays=PATIENT,
            url_storage=order.directory / "urls.json",
        )
        return running_js(replace(chosen, **options))


class PageClient(Client):
    """Uppy or tus-js-client in Chromium."""

    takes_commands = True
    resends = True

    def __init__(self, name: str, major: int = 4) -> None:
        package = "@uppy/tus" if name == "uppy" else f"tus-js-client-{major}"
        label = "Uppy (@uppy/tus)" if name == "uppy" else "tus-js-client"
        super().__init__(label, "in Chromium", locked_npm(package))
        self.kind = name
        self.major = major

    def running(self, order: Order, options: Options) -> Running:
        chosen = PageOptions(
            endpoint=order.endpoint,
            file=order.file,
            profile=order.directory / "profile",
            client=self.kind,
            version=self.major,
            metadata=order.metadata,
            headers=order.headers,
            retry_delays=PATIENT,
            page_port=None if order.previous is None else _page_port(order.previous),
        )
        return running_page(replace(chosen, **options))


class TuspyClient(Client):
    """tuspy, synchronous or not."""

    def __init__(self, *, is_async: bool) -> None:
        where = "AsyncUploader" if is_async else "Uploader"
        super().__init__("tuspy", where, locked_python("tuspy"))
        self.is_async = is_async

    def running(self, order: Order, options: Options) -> Running:
        chosen = TuspyOptions(
            endpoint=order.endpoint,
            file=order.file,
            is_async=self.is_async,
            metadata=order.metadata,
            headers=order.headers,
            retries=30,
            url_storage=order.directory / "urls.json",
        )
        return running_tuspy(replace(chosen, **options))


class JavaClient(Client):
    """tus-java-client; its own delays."""

    def __init__(self) -> None:
        pom = (HERE / "java" / "pom.xml").read_text()
        found = re.search(r"<artifactId>tus-java-client</artifactId>\s*<version>(.*?)</", pom)
        assert found is not None
        super().__init__("tus-java-client", "", found[1])

    def running(self, order: Order, options: Options) -> Running:
        target = HERE / "java" / "target"
        if not (target / "classes" / "Upload.class").is_file():
            raise NoClient("the Java client is not built; `make interop` does it")
        return running_client(
            _command("java"),
            *("-XX:TieredStopAtLevel=1", "-Xshare:auto"),
            *("-cp", f"{target}/classes:{target}/jars/*", "Upload"),
            *_arguments(order, {"store": order.directory / "urls.properties", **options}),
        )


class RustClient(Client):
    """tus_client."""

    def __init__(self) -> None:
        manifest = (HERE / "rust" / "Cargo.toml").read_text()
        found = re.search(r'^tus_client = .*"=(.*?)"', manifest, re.MULTILINE)
        assert found is not None
        super().__init__("tus_client", "", found[1])

    def running(self, order: Order, options: Options) -> Running:
        program = HERE / "rust" / "target" / "debug" / "rust-client"
        if not program.is_file():
            raise NoClient("the Rust client is not built; `make interop` does it")
        known = {} if order.previous is None else {"url": order.previous.url}
        return running_client(str(program), *_arguments(order, {**known, **options}))


def locked_npm(package: str) -> str:
    """The version that npm's lock has."""
    lock = (CLIENTS / "package-lock.json").read_text()
    found = re.search(rf'"node_modules/{package}": {{[^}}]*?"version": "(.*?)"', lock)
    assert found is not None, f"{package} is not in npm's lock"
    return found[1]


def locked_python(package: str) -> str:
    """The version that the lock of the tests has."""
    lock = (ROOT / "conf" / "requirements" / "dev.txt").read_text()
    found = re.search(rf"^{package}==([\w.]+)", lock, re.MULTILINE)
    assert found is not None, f"{package} is not in the lock"
    return found[1]


def _arguments(order: Order, options: Options) -> list[str]:
    given = {"endpoint": order.endpoint, "file": order.file, **options}
    given |= {f"metadata.{name}": value for name, value in order.metadata.items()}
    given |= {f"header.{name}": value for name, value in order.headers.items()}
    return [f"{name}={value}" for name, value in given.items()]


def _page_port(run: ClientRun) -> int | None:
    opened = next(event for event in run.events if event["event"] == "opened")
    return urlsplit(str(opened["origin"])).port


def _command(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise NoClient(f"{name} is not on the PATH; `make interop` says how to install it")
    return found
