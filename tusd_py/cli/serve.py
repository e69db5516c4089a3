"""Starts the server: in this process, or several under a supervisor that takes this one's place."""

import json
import os
import shlex
import sys
from dataclasses import dataclass

from tusd_py import compose
from tusd_py.announce import Announcement
from tusd_py.auth.base import AuthMode
from tusd_py.cli.session import Session
from tusd_py.config import Tree
from tusd_py.logs import configure_logs

NOT_REPEATED = ("http.", "log.", "process.", "upload.", "outbox.", "hooks")
"""Settings that make no difference to the commands of the banner."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """The settings for other processes of this server, in memory only: they hold secrets."""

    fd: int

    @classmethod
    def of(cls, tree: Tree) -> "HandOver":
        fd = os.memfd_create("tusd-py-settings", 0)  # inherited over exec
        os.write(fd, tree.given.to_json().encode())
        return cls(fd)


def serve(session: Session, *, ready_fd: int | None = None, as_json: bool = False) -> int:
    """Serve until told to stop; the exit code. Does not return where there are several workers."""
    tree = session.tree
    compose.check(tree)
    banner = "{ready}" if as_json else build_banner(session)
    if tree.process.workers > 1:
        # A fault of the key shows here, once; the workers say which key it is.
        configure_logs(tree.log.model_copy(update={"level": "error"}))
        compose.load_key_ring(tree)
        plan = {
            "host": tree.http.host,
            "port": tree.http.port,
            "workers": tree.process.workers,
            "stop_seconds": tree.process.stop_seconds,
            "path": tree.http.base_path,
            "settings_fd": HandOver.of(tree).fd,
            "ready_fd": ready_fd,
            "banner": banner,
        }
        if ready_fd is not None:
            os.set_inheritable(ready_fd, True)
        sys.stdout.flush()
        words = ["-m", "tusd_py.supervisor", "--plan", json.dumps(plan)]
        os.execv(sys.executable, [sys.executable, *words])
    from tusd_py.server import run

    return run(tree, announcement=Announcement(banner, ready_fd))


def build_banner(session: Session) -> str:
    """What is printed once the server is ready; nothing where logs are for machines."""
    tree = session.tree
    if tree.log.format != "console":
        return ""
    lines = ["", "tus endpoint:  {endpoint}"]
    if tree.http.public_url:
        lines.append(f"for clients:   {str(tree.http.public_url).rstrip('/')}{tree.http.base_path}")
    header = ""
    if tree.auth.settings.mode is not AuthMode.OFF:
        command = f"{_command(session)} token --video-id 1 --client-id 1"
        lines += ["", "A token (a JWT for one video and one client):", "", f"  {command}"]
        header = f' \\\n    -H "Authorization: Bearer $({command})"'
    lines += ["", "A first upload:", "", _curl(header), ""]
    return "\n".join(lines)


def _curl(header: str) -> str:
    create = (
        "  URL=$(curl -sS -i -X POST {endpoint}" + header + " \\\n"
        "    -H 'Tus-Resumable: 1.0.0' -H 'Upload-Length: 12' \\\n"
        '    -H "Upload-Metadata: filename $(printf hello.txt | base64),'
        'video_id $(printf 1 | base64),client_id $(printf 1 | base64)" \\\n'
        "    | tr -d '\\r' | sed -n 's/^[Ll]ocation: //p')"
    )
    append = (
        "  printf 'Hello, tus!\\n' | curl -sS -i -X PATCH \"$URL\" --data-binary @- \\\n"
        "    -H 'Tus-Resumable: 1.0.0' -H 'Upload-Offset: 0' \\\n"
        "    -H 'Content-Type: application/offset+octet-stream'"
    )
    return f"{create}\n{append}"


def _command(session: Session) -> str:
    """This very command, with what of its words makes a difference to a token."""
    program = sys.argv[0]
    words = [sys.executable, "-m", "tusd_py"] if program.endswith(".py") else [program]
    if session.flags.file is not None:
        words += ["--config", str(session.flags.file)]
    for flag, value in session.flags.values.items():
        if not flag.startswith(NOT_REPEATED) and flag != "auth.key":
            words += [f"--{flag}", value]
    return shlex.join(words)
