"""Processes tell each other of leases that are wanted and let go."""

from pathlib import Path

from tests.contract.states import FakeClock, upload_id
from tusd_py.core.ids import HolderId
from tusd_py.state.base import Lease
from tusd_py.state.sqlite_handover import Handover
from tusd_py.state.sqlite_peers import Peers


class RecordingPeers(Peers):
    def __init__(self) -> None:
        super().__init__(Path("unused"))
        self.sent: list[tuple[str, str]] = []

    def send(self, name: str, text: str) -> bool:
        self.sent.append((name, text))
        return True


def test_whoever_waits_elsewhere_is_told_as_soon_as_the_lease_is_let_go() -> None:
    """Once, and without asking again; only ``ask`` disturbs the holder."""
    peers = RecordingPeers()
    handover = Handover(peers)
    lease = Lease(upload_id(1), 1, HolderId("holder"), 9.0, FakeClock())
    handover.hold(lease)
    handover.on_message(f"wait {lease.upload_id} holder one")
    assert not lease.asked.is_set()
    handover.on_message(f"ask {lease.upload_id} holder two")
    assert lease.asked.is_set() and not peers.sent
    handover.let_go(lease.upload_id, lease.holder)
    assert sorted(peers.sent) == [(n, f"free {lease.upload_id}") for n in ("one", "two")]
    handover.let_go(lease.upload_id, lease.holder)
    assert len(peers.sent) == 2
