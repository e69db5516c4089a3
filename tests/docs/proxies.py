"""nginx and Caddy with the files of ``conf/``, in front of a server, with a certificate made here.

Of each file only what is specific to a site is changed: name, addresses, certificate.
"""

import asyncio
import contextlib
import os
import shutil
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

from tests.docs.stage import free_port
from tests.support.server import REPOSITORY

START_SECONDS: Final = 15.0
ADMIN_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin"
NGINX: Final = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr warn;
worker_processes 1;
{user}
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/site.conf;
}}
"""
CADDY: Final = """{{
	admin off
	auto_https disable_redirects
}}
{site}
"""


class NoProxy(Exception):
    """A proxy is not installed, or does not start."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that runs."""

    kind: str
    port: int
    authority: Path
    """The certificate that clients have to trust."""

    @property
    def base(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def endpoint(self) -> str:
        return f"{self.base}/upload/"

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))


@asynccontextmanager
async def proxying(kind: str, directory: Path, upstream: str) -> AsyncIterator[Proxy]:
    """``nginx`` or ``caddy`` before the server at ``upstream`` (host:port)."""
    make_certificate(directory)
    port = free_port()
    command = (nginx if kind == "nginx" else caddy)(directory, port, upstream)
    process = await asyncio.create_subprocess_exec(
        *command, env=environment(directory), stdin=asyncio.subprocess.DEVNULL
    )
    try:
        await _accepts(process, port)
        yield Proxy(kind, port, directory / "authority.pem")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def make_certificate(directory: Path) -> None:
    """An authority of our own, and what it says of localhost."""
    directory.mkdir(parents=True)
    authority = trustme.CA()
    own = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(directory / "authority.pem"))
    own.private_key_pem.write_to_path(str(directory / "key.pem"))
    for one in own.cert_chain_pems:
        one.write_to_path(str(directory / "cert.pem"), append=True)


def nginx(directory: Path, port: int, upstream: str) -> tuple[str, ...]:
    """Write its files; the command that starts it."""
    changes = {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "server_name upload.example.com;": "server_name localhost;",
        "/etc/ssl/upload.example.com.crt": str(directory / "cert.pem"),
        "/etc/ssl/upload.example.com.key": str(directory / "key.pem"),
        "server 127.0.0.1:8080 ": f"server {upstream} ",
    }
    (directory / "site.conf").write_text(changed("nginx/tusd.conf", changes))
    # As root the worker would become nobody, who may not read the test's directory.
    user = "user root;" if os.geteuid() == 0 else ""
    main = directory / "nginx.conf"
    main.write_text(NGINX.format(directory=directory, user=user))
    return (found("nginx"), "-e", "stderr", "-p", str(directory), "-c", str(main))


def caddy(directory: Path, port: int, upstream: str) -> tuple[str, ...]:
    """Write its file; the command that starts it."""
    tls = f"\tbind 127.0.0.1\n\ttls {directory}/cert.pem {directory}/key.pem\n"
    changes = {
        "upload.example.com {\n": f"https://localhost:{port} {{\n{tls}",
        "reverse_proxy 127.0.0.1:8080 ": f"reverse_proxy {upstream} ",
    }
    file = directory / "Caddyfile"
    file.write_text(CADDY.format(site=changed("caddy/Caddyfile", changes)))
    return (found("caddy"), "run", "--config", str(file), "--adapter", "caddyfile")


def changed(name: str, changes: Mapping[str, str]) -> str:
    """A file of ``conf/`` with what is specific to a site replaced; each stands there once."""
    text = (REPOSITORY / "conf" / name).read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in conf/{name}"
        text = text.replace(old, new)
    return text


def environment(directory: Path) -> dict[str, str]:
    """Caddy keeps files at home: this is one."""
    return dict(os.environ) | {"HOME": str(directory), "XDG_DATA_HOME": str(directory / "home")}


def found(program: str) -> str:
    path = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), ADMIN_PATH]))
    if path is None:
        raise NoProxy(f"{program} is not installed; `make test` says how to install it")
    return path


async def _accepts(process: asyncio.subprocess.Process, port: int) -> None:
    """Wait until it listens; nobody tells, so connect until it works."""
    async with asyncio.timeout(START_SECONDS):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.wait({asyncio.ensure_future(process.wait())}, timeout=0.02)
                continue
            writer.close()
            await writer.wait_closed()
            return
    raise NoProxy(f"it ended with {process.returncode}")
