"""The machine is known, or the server says what is missing."""

from pathlib import Path

import pytest

from tusd_py.core.ids import parse_upload_id
from tusd_py.host import EMBEDDED_HOST, HostUnsupported, this_machine


def test_the_boot_is_that_of_the_running_kernel() -> None:
    """Two looks at it agree, and so does the kernel."""
    machine = this_machine()
    assert machine.boot == this_machine().boot
    assert machine.boot.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert machine.boot.host == EMBEDDED_HOST
    assert this_machine("up1").boot.host == "up1"


@pytest.mark.parametrize("content", [None, ""])
def test_a_system_without_a_boot_id_is_told_so(tmp_path: Path, content: str | None) -> None:
    """Bytes of before a loss of power could not be told from others."""
    file = tmp_path / "boot_id"
    if content is not None:
        file.write_text(content)
    with pytest.raises(HostUnsupported, match="boot"):
        this_machine(boot_id_file=file)


def test_ids_are_valid_and_never_the_same() -> None:
    """An upload's address is a capability."""
    new_id = this_machine().new_upload_id
    found = {new_id() for _ in range(100)}
    assert len(found) == 100
    assert all(parse_upload_id(one) == one for one in found)


def test_the_clock_does_not_go_back() -> None:
    """Leases are judged by it."""
    clock = this_machine().clock
    times = [clock() for _ in range(100)]
    assert times == sorted(times)
