"""Takes the command line of the real server, and does nothing but start, log, echo and end."""

import asyncio
import json
import os
import signal
import sys
import tomllib
from pathlib import Path


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()


def main(arguments: list[str]) -> int:
    flags = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    settings = tomllib.loads(Path(flags["--config"]).read_text())
    print(json.dumps({"event": "configured", "settings": settings}), file=sys.stderr, flush=True)
    if settings.get("fail"):
        print("no such luck", file=sys.stderr)
        return 3
    asyncio.run(serve(flags))
    print(json.dumps({"event": "stopped"}), file=sys.stderr)
    return 0


async def serve(flags: dict[str, str]) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    server = await asyncio.start_server(echo, "127.0.0.1", int(flags["--http.port"]))
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    told = {"endpoint": f"{base}/upload/", "base": base, "pid": os.getpid()}
    os.write(int(flags["--ready-fd"]), json.dumps(told).encode() + b"\n")
    async with server:
        await stopping.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
