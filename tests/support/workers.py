"""The worker processes of a server."""

import psutil

from tests.support.server import Server


def workers_of(server: Server) -> set[int]:
    """Those that run."""
    return {child.pid for child in psutil.Process(server.pid).children() if _runs(child)}


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # it ended since it was listed
        return False
