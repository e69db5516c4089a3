"""What the tests of one-shot uploads against the real process share."""

from tests.e2e.rig import assert_finished
from tests.e2e.stage import Stage
from tests.support import tus
from tests.support.server import Server


def bearer(server: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.mint()}"}


def sizes(server: Server) -> list[int]:
    """How many bytes lie in each upload's file."""
    found = (server.store_root).glob("*/*.bin")
    return sorted(path.stat().st_size for path in found)


async def finish_by_tus(stage: Stage, url: str, data: bytes, offset: int) -> None:
    found = await tus.head(url)
    assert (found.status, found.offset) == (200, offset)
    length = {} if found.length is not None else {"Upload-Length": str(len(data))}
    done = await tus.patch(url, offset, data[offset:], headers=length)
    assert (done.status, done.offset) == (204, len(data))
    await assert_finished(stage.server, stage.receiver, url, data)
