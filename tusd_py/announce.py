"""Says that the server accepts connections: to people, and to whoever started it."""

import contextlib
import json
import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Announcement:
    """What is said once, when everybody is ready."""

    banner: str = ""
    """Printed; ``{base}``, ``{endpoint}`` and ``{ready}`` (the JSON line) are filled in."""
    ready_fd: int | None = None
    """An inherited descriptor that gets one line of JSON and is closed."""

    def tell(self, *, host: str, port: int, path: str) -> None:
        ready = describe(host=host, port=port, path=path)
        line = json.dumps(ready)
        if self.banner:
            text = self.banner.replace("{ready}", line).replace("{base}", str(ready["base"]))
            with contextlib.suppress(OSError):  # nobody reads: no reason not to serve
                print(text.replace("{endpoint}", str(ready["endpoint"])), flush=True)
        if self.ready_fd is not None:
            with contextlib.suppress(OSError):
                os.write(self.ready_fd, line.encode() + b"\n")
            os.close(self.ready_fd)


def describe(*, host: str, port: int, path: str) -> dict[str, str | int]:
    """The ready line: where a client on this machine finds the server."""
    # A server that listens everywhere is reached by loopback too; its own name is not an address.
    local = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    base = f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"
    return {"endpoint": base + path, "base": base, "pid": os.getpid()}
