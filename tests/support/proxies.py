"""nginx and Caddy with the files of ``conf/``, in front of one server or of several in turn.

Of each file only what is specific to a site is changed: name, addresses, certificate (made here).
An ``open`` proxy does without TLS, and shows ``/metrics`` and ``/health`` too.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

import trustme

from tests.support.server import REPOSITORY
from tests.support.sockets import quiet_port

Kind = Literal["nginx", "caddy"]

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
_BLOCK: Final = re.compile(r"(?ms)^upstream tusd_py {\n.+?^}\n")
CADDY: Final = """{{
	admin off
	auto_https disable_redirects
}}
{site}
"""


class NoProxy(Exception):
    """A proxy is not installed, or does not start."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a proxy is told."""

    directory: Path
    port: int
    upstreams: Sequence[str]
    """Servers (host:port), asked in turn."""
    is_open: bool = False
    block: str = ""
    """A file of ``conf/`` whose block of upstreams takes the place of nginx's own."""


class Proxy:
    """A proxy before servers that may come and go."""

    def __init__(
        self,
        kind: Kind,
        directory: Path,
        upstreams: Sequence[str],
        *,
        port: int | None = None,
        is_open: bool = False,
        block: str = "",
    ) -> None:
        self.kind = kind
        self.port = port or quiet_port()
        self.authority = directory / "authority.pem"
        """The certificate that clients have to trust."""
        self._site = Site(directory, self.port, upstreams, is_open, block)
        self._errors = directory / "errors.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def base(self) -> str:
        return f"http{'' if self._site.is_open else 's'}://{self.host}:{self.port}"

    @property
    def host(self) -> str:
        return "127.0.0.1" if self._site.is_open else "localhost"

    @property
    def endpoint(self) -> str:
        return f"{self.base}/upload/"

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))

    async def start(self) -> Self:
        """Start it and wait until it listens."""
        self._site.directory.mkdir(parents=True, exist_ok=True)
        if not self._site.is_open:
            make_certificate(self._site.directory)
        command = (nginx if self.kind == "nginx" else caddy)(self._site)
        # What it says of servers that come and go would drown everything else.
        with self._errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                env=environment(self._site.directory),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        try:
            await _accepts(self._process, self.port, self._errors)
        except BaseException:
            await self.end()
            raise
        return self

    async def end(self) -> None:
        """Its whole process group, at once. Idempotent."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None


@asynccontextmanager
async def proxying(
    kind: Kind, directory: Path, *upstreams: str, is_open: bool = False, block: str = ""
) -> AsyncIterator[Proxy]:
    """``nginx`` or ``caddy`` before the servers at ``upstreams`` (host:port)."""
    proxy = Proxy(kind, directory, upstreams, is_open=is_open, block=block)
    try:
        yield await proxy.start()
    finally:
        await proxy.end()


def make_certificate(directory: Path) -> None:
    """An authority of our own, and what it says of localhost."""
    authority = trustme.CA()
    own = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(directory / "authority.pem"))
    own.private_key_pem.write_to_path(str(directory / "key.pem"))
    (directory / "cert.pem").write_bytes(b"".join(one.bytes() for one in own.cert_chain_pems))


def nginx(site: Site) -> tuple[str, ...]:
    """Write its files; the command that starts it."""
    directory = site.directory
    changes = {
        _BLOCK.findall(_conf("nginx/tusd.conf"))[0]: _upstreams(site),
        "server_name upload.example.com;": "server_name localhost;",
    }
    if site.is_open:
        changes |= {
            "listen 443 ssl;": f"listen 127.0.0.1:{site.port};",
            "    ssl_certificate /etc/ssl/upload.example.com.crt;\n": "",
            "    ssl_certificate_key /etc/ssl/upload.example.com.key;\n": "",
            "location / {\n        return 404;": "location / {\n        proxy_pass http://tusd_py;",
        }
    else:
        changes |= {
            "listen 443 ssl;": f"listen 127.0.0.1:{site.port} ssl;",
            "/etc/ssl/upload.example.com.crt": str(directory / "cert.pem"),
            "/etc/ssl/upload.example.com.key": str(directory / "key.pem"),
        }
    (directory / "site.conf").write_text(changed("nginx/tusd.conf", changes))
    # As root the worker would become nobody, who may not read the test's directory.
    user = "user root;" if os.geteuid() == 0 else ""
    main = directory / "nginx.conf"
    main.write_text(NGINX.format(directory=directory, user=user))
    return (found("nginx"), "-e", "stderr", "-p", str(directory), "-c", str(main))


def _upstreams(site: Site) -> str:
    """The block that names the servers, with these servers."""
    (block,) = _BLOCK.findall(_conf(site.block or "nginx/tusd.conf"))
    lines = re.findall(r"(?m)^    server \S+( .+;)\n", block)
    assert len(set(lines)) == 1, lines
    servers = "".join(f"    server {one}{lines[0]}\n" for one in site.upstreams)
    return re.sub(r"(?m)(^    server .+\n)+", servers, block)


def caddy(site: Site) -> tuple[str, ...]:
    """Write its file; the command that starts it."""
    directory, upstreams = site.directory, " ".join(site.upstreams)
    tls = f"\ttls {directory}/cert.pem {directory}/key.pem\n"
    scheme, host = ("http", "127.0.0.1") if site.is_open else ("https", "localhost")
    head = f"{scheme}://{host}:{site.port} {{\n\tbind 127.0.0.1\n{'' if site.is_open else tls}\n"
    changes = {
        "upload.example.com {\n": head,
        "reverse_proxy 127.0.0.1:8080 ": f"reverse_proxy {upstreams} ",
    }
    if site.is_open:
        changes["handle {\n\t\trespond 404"] = f"handle {{\n\t\treverse_proxy {upstreams}"
    file = directory / "Caddyfile"
    file.write_text(CADDY.format(site=changed("caddy/Caddyfile", changes)))
    return (found("caddy"), "run", "--config", str(file), "--adapter", "caddyfile")


def changed(name: str, changes: Mapping[str, str]) -> str:
    """A file of ``conf/`` with what is specific to a site replaced; each stands there once."""
    text = _conf(name)
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in conf/{name}"
        text = text.replace(old, new)
    return text


def _conf(name: str) -> str:
    return (REPOSITORY / "conf" / name).read_text()


def environment(directory: Path) -> dict[str, str]:
    """Caddy keeps files at home: this is one."""
    return dict(os.environ) | {"HOME": str(directory), "XDG_DATA_HOME": str(directory / "home")}


def found(program: str) -> str:
    path = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), ADMIN_PATH]))
    if path is None:
        raise NoProxy(f"{program} is not installed; `make test` says how to install it")
    return path


async def _accepts(process: asyncio.subprocess.Process, port: int, errors: Path) -> None:
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
    raise NoProxy(f"it ended with {process.returncode}; {errors} says why")
