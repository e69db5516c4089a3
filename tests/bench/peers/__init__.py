"""The peers measured beside this server: found or installed, else said to be missing, and why."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.bench.servers import Contender, Locking
from tests.bench.sizes import MIB

HERE: Final = Path(__file__).resolve().parent
INSTALL_SECONDS: Final = 120.0
VERSION_SECONDS: Final = 10.0
RUSTUS_MAX_BODY_BYTES: Final = 256 * MIB
"""It buffers a whole request; with its default of 256 KiB it refuses real clients."""


class Missing(Exception):
    """A peer that is not here; the text says why and how to get it."""


def find_peers() -> tuple[list[Contender], list[str]]:
    """Those that can be measured, and a line for each that cannot."""
    found, missing = [], []
    finders: dict[str, Callable[[], Contender]] = {
        "tusd": find_tusd,
        "rustus": find_rustus,
        "@tus/server": find_tus_server,
    }
    for name, find in finders.items():
        try:
            found.append(find())
        except Missing as error:
            missing.append(f"{name} is not measured: {error}")
    return found, missing


def find_tusd() -> Contender:
    """Go; the reference server."""
    binary = _binary("tusd", "TUSD", "put a release of github.com/tus/tusd on PATH")
    version = _first_line([binary, "-version"])

    def command(directory: Path, port: int) -> Sequence[str]:
        return [
            *(binary, "-host", "127.0.0.1", "-port", str(port)),
            *("-upload-dir", str(directory / "files"), "-base-path", "/files/"),
        ]

    return Contender(
        name="tusd",
        how=f"{version}; never syncs",
        command=command,
        path="/files/",
        locking=Locking.IN_PROCESS,
    )


def find_rustus() -> Contender:
    """Rust, actix."""
    binary = _binary("rustus", "RUSTUS", "cargo install rustus, then PATH or RUSTUS=binary")
    version = _first_line([binary, "--version"])

    def command(directory: Path, port: int) -> Sequence[str]:
        return [
            *(binary, "--host", "127.0.0.1", "--port", str(port), "--url", "/files"),
            *("--data-dir", str(directory / "files"), "--info-dir", str(directory / "info")),
            *("--max-body-size", str(RUSTUS_MAX_BODY_BYTES)),
        ]

    return Contender(
        name="rustus",
        how=f"{version}, one worker per core; buffers whole requests, has no lock, never syncs",
        command=command,
        path="/files/",
        locking=Locking.NONE,
    )


def find_tus_server() -> Contender:
    """Node; installed here on demand, as its lock says."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Missing("no node and npm on PATH")
    _install(npm)
    version = _first_line([node, "--version"])

    def command(directory: Path, port: int) -> Sequence[str]:
        return [node, str(HERE / "serve.mjs"), str(port), str(directory)]

    return Contender(
        name="@tus/server",
        how=f"{_installed_version()} with @tus/file-store, node {version}; never syncs",
        command=command,
        path="/files",
        locking=Locking.IN_PROCESS,
    )


def _binary(name: str, variable: str, how_to_get: str) -> str:
    binary = os.environ.get(variable) or shutil.which(name)
    if binary is None:
        raise Missing(f"no {name} on PATH ({how_to_get})")
    if shutil.which(binary) is None:
        raise Missing(f"{variable} names no program")
    return binary


def _install(npm: str) -> None:
    """Once for each content of the lock."""
    wanted = "".join((HERE / name).read_text() for name in ("package.json", "package-lock.json"))
    stamp = HERE / "node_modules" / ".stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    try:
        subprocess.run(
            [npm, "ci", "--no-progress", "--loglevel=error"],
            cwd=HERE,
            check=True,
            timeout=INSTALL_SECONDS,
            capture_output=True,
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise Missing(f"npm could not install it ({error})") from error
    stamp.write_text(wanted)


def _installed_version() -> str:
    package = HERE / "node_modules" / "@tus" / "server" / "package.json"
    version: str = json.loads(package.read_text())["version"]
    return version


def _first_line(command: Sequence[str]) -> str:
    try:
        told = subprocess.run(
            command, check=True, timeout=VERSION_SECONDS, capture_output=True, text=True
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise Missing(f"it does not start ({error})") from error
    return (told.stdout + told.stderr).strip().split("\n")[0]
