"""Plays the blocks of one story, in a directory that looks like the repository to them.

Actions: ``file`` writes the block; a .toml is also loaded by ``tusd-py config check``. ``run``
executes it in bash; what it sets is there for the next one. ``stopped`` is a ``run`` after the
server was stopped. ``output`` is what the last of these printed. ``serve`` is a command that starts
the server, ``start`` one that starts something else and has begun when it prints the argument;
``says`` is what the last of those prints sooner or later. ``page`` is opened in a browser: what can
be read on it is what it ``says``; its second word is the file that its form sends, or what stands
behind the # of its address, and {{ NAME }} in it is a variable. ``make`` is a ``serve`` from the
repository, ``plan`` is asked of make without doing it.

Ports are the only change: 8080 becomes the server's, each of PORTS a free one.
"""

import asyncio
import contextlib
import os
import re
import shlex
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.docs.blocks import Block, is_in, is_like
from tests.support.browser import chromium
from tests.support.server import REPOSITORY
from tests.support.sockets import quiet_port

CLIENTS: Final = REPOSITORY / "tests" / "clients" / "node_modules"
SECONDS: Final = 30.0
PORTS: Final = ("6379", "8081", "8082", "9000")
"""Of what else is started."""
SHELL: Final = ("bash", "-euo", "pipefail", "-c")


class Play:
    """A process that stays, and what it has said on standard output."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""
        self._grown = asyncio.Condition()
        self.reader = asyncio.create_task(self._read())

    async def said(self, pattern: str) -> None:
        """Wait until it has said these lines."""
        try:
            async with asyncio.timeout(SECONDS), self._grown:
                await self._grown.wait_for(lambda: is_in(pattern, self.output) or self._has_ended)
        except TimeoutError:
            raise AssertionError(f"it does not say\n{pattern}\nbut\n{self.output}") from None
        assert is_in(pattern, self.output), self.output

    @property
    def _has_ended(self) -> bool:
        return self.process.returncode is not None and self.reader.done()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._grown:
                self.output += line.decode()
                self._grown.notify_all()
        await self.process.wait()

    async def end(self) -> None:
        """SIGTERM to its group; SIGKILL to what is left of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.reader


class Stage:
    """Where one story is played. Use as ``async with``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output = ""
        """What the last ``run`` printed."""
        self.base = ""
        """The server's address, once one was started."""
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.plays: list[Play] = []
        self.server: Play | None = None

    async def __aenter__(self) -> "Stage":
        self.directory.mkdir(parents=True, exist_ok=True)
        for name in (".venv", "conf"):
            (self.directory / name).symlink_to(REPOSITORY / name)
        modules = self.directory / "node_modules"
        modules.mkdir()
        (modules / "tus-js-client").symlink_to(CLIENTS / "tus-js-client-4")
        return self

    async def __aexit__(self, *_: object) -> None:
        for play in reversed(self.plays):
            await play.end()

    async def play(self, block: Block) -> None:
        """Do what the block's comment says."""
        text = self.localised(block.text)
        match block.action:
            case "file":
                await self.write(block.argument, text)
            case "run":
                self.output = await self.shell(text, code=int(block.argument or 0))
            case "stopped":
                assert self.server is not None, f"{block.place}: there is no server"
                await self.server.end()
                self.server = None
                self.output = await self.shell(text)
            case "output":
                assert is_like(text, self.output), f"{block.place}\n{text}\n<>\n{self.output}"
            case "serve":
                await self.serve(text, cwd=self.directory)
            case "make":
                await self.serve(text, cwd=REPOSITORY)
            case "plan":
                await self.plan(text)
            case "start":
                await (await self.begin(text, self.directory)).said(f"…{block.argument}…")
            case "page":
                name, word = block.argument.split()
                await self.open(name, word, text)
            case "says":
                await self.plays[-1].said(text)
            case _:
                raise AssertionError(f"{block.place}: no such action")

    def localised(self, text: str) -> str:
        """With the ports of this stage."""
        if self.base:
            text = text.replace("http://127.0.0.1:8080", self.base)
        return re.sub(r"\b(\d{4})\b", lambda found: self.ports.get(found[1], found[1]), text)

    async def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if name.endswith(".toml"):
            await self.shell(f".venv/bin/tusd-py config check --config {shlex.quote(name)}")

    async def open(self, name: str, word: str, html: str) -> None:
        """Open a page in Chromium."""
        for variable in re.findall(r"{{ (\w+) }}", html):
            value = await self.shell(f'printf %s "${variable}"')
            html = html.replace(f"{{{{ {variable} }}}}", value)
        await self.write(name, html)
        profile = self.directory / f"{name}.profile"
        word = await self.shell(f'printf %s "{word}"')
        driver = REPOSITORY / "tests" / "docs" / "page.mjs"
        words = ("node", driver, chromium(), profile, name, word)
        await self.begin(shlex.join(map(str, words)), self.directory)

    async def shell(self, script: str, *, code: int = 0) -> str:
        """Run a script; its standard output. Variables come from the last one and stay."""
        kept = "set -a; [ ! -f .variables ] || . ./.variables\n"
        after = "\nexport -p | grep -v ' \\(PWD\\|OLDPWD\\|SHLVL\\)=' > .variables\n"
        process = await self._spawn(kept + script + after, self.directory, piped_errors=True)
        async with asyncio.timeout(SECONDS):
            out, errors = await process.communicate()
        told = f"{script}\nended with {process.returncode}\n{out.decode()}\n{errors.decode()}"
        assert process.returncode == code, told
        return out.decode()

    async def begin(
        self,
        script: str,
        cwd: Path,
        *,
        fd: int | None = None,
        more: Mapping[str, str] | None = None,
    ) -> Play:
        """Start something that stays."""
        process = await self._spawn(f"exec {script.strip()}", cwd, fd=fd, more=more)
        self.plays.append(Play(process))
        return self.plays[-1]

    async def serve(self, command: str, *, cwd: Path) -> None:
        """Start the server of this command, and wait until it accepts connections."""
        read_end, write_end = os.pipe()
        port = int(self.base.rpartition(":")[2]) if self.base else 0
        flags = f"--http.port {port} --ready-fd {write_end}"
        data = self.directory / "data"
        if cwd == REPOSITORY:
            more = {"ARGS": f"{flags} --data-dir {data} --store.root {data}/uploads"}
        else:
            more, command = {}, f"{command.strip()} {flags}"
        if self.server is not None:
            await self.server.end()
        try:
            self.server = await self.begin(command, cwd, fd=write_end, more=more)
        finally:
            os.close(write_end)
        async with asyncio.timeout(2 * SECONDS):
            ready = await asyncio.to_thread(first_line, read_end)
        found = re.search(r'"base": "([^"]+)"', ready)
        assert found, f"{command}: {ready!r} {self.server.output}"
        self.base = found[1]

    async def plan(self, command: str) -> None:
        """Have make say what it would do."""
        words = shlex.split(command)
        assert words[0] == "make", command
        process = await self._spawn(
            shlex.join(["make", "--dry-run", *words[1:]]), REPOSITORY, piped_errors=True
        )
        out, errors = await process.communicate()
        assert process.returncode == 0 and out.strip(), errors.decode()

    async def _spawn(
        self,
        script: str,
        cwd: Path,
        *,
        fd: int | None = None,
        piped_errors: bool = False,
        more: Mapping[str, str] | None = None,
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(*SHELL, script),
            cwd=cwd,
            env=environment() | dict(more or {}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE if piped_errors else None,
            pass_fds=() if fd is None else (fd,),
            start_new_session=True,
        )


def environment() -> dict[str, str]:
    """Ours, with the project's Python first and nothing of make's or of the server's."""
    dropped = ("TUSD_PY_", "MAKE", "MFLAGS", "ARGS", "PYTHONPATH", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return kept | {"PATH": path, "PYTHONUNBUFFERED": "1"}


def first_line(descriptor: int) -> str:
    """What comes through a pipe up to the first line end; empty where nothing does."""
    with os.fdopen(descriptor) as pipe:
        return pipe.readline()


def free_ports(count: int) -> list[str]:
    """Ports that nobody listens on, and that nobody is given."""
    found: set[int] = set()
    while len(found) < count:
        found.add(quiet_port())
    return [str(port) for port in found]
