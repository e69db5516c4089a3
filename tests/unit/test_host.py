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


def test_one_of_many_machines_is_named_after_its_id(tmp_path: Path) -> None:
    """Always alike, not to be guessed from, and other machines have another one."""
    file = tmp_path / "machine-id"
    names = set()
    for machine_id in ("0123456789abcdef" * 2, "f" * 32):
        file.write_text(machine_id + "\n")
        one = this_machine(is_one_of_many=True, machine_id_file=file).boot.host
        assert this_machine(is_one_of_many=True, machine_id_file=file).boot.host == one
        assert one.startswith("m-") and len(one) == 14 and one[2:] not in machine_id
        names.add(one)
    assert len(names) == 2
    named = this_machine("node-1", is_one_of_many=True, machine_id_file=file)
    assert named.boot.host == "node-1"


@pytest.mark.parametrize("is_one_of_many", [True, False])
def test_a_machine_knows_what_it_may_have_been_called_before(
    tmp_path: Path, is_one_of_many: bool
) -> None:
    """Alone, or as one of many, without a name of its own."""
    file = tmp_path / "machine-id"
    file.write_text("0" * 32)
    alone = this_machine(machine_id_file=file)
    one_of_many = this_machine(is_one_of_many=True, machine_id_file=file)
    assert alone.other_names == (one_of_many.boot.host,)
    assert one_of_many.other_names == (EMBEDDED_HOST,)
    named = this_machine("node-1", is_one_of_many=is_one_of_many, machine_id_file=file)
    assert named.other_names == (EMBEDDED_HOST, one_of_many.boot.host)
    file.unlink()
    nameless = this_machine("node-1", is_one_of_many=is_one_of_many, machine_id_file=file)
    assert nameless.other_names == (EMBEDDED_HOST,)


@pytest.mark.parametrize(
    "content", [None, b"", b"\n", b"uninitialized\n", b"\xff", b"0123", b"0" * 33, b"G" * 32]
)
def test_one_of_many_machines_without_an_id_needs_a_name(
    tmp_path: Path, content: bytes | None
) -> None:
    """Two machines of one name would take each other's restarts for their own."""
    file = tmp_path / "machine-id"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(HostUnsupported, match=r"set process\.host_name .* the node"):
        this_machine(is_one_of_many=True, machine_id_file=file)
    assert this_machine("n", is_one_of_many=True, machine_id_file=file).boot.host == "n"
    assert this_machine(machine_id_file=file).boot.host == EMBEDDED_HOST


def test_one_of_many_machines_is_not_called_as_any_machine_is(tmp_path: Path) -> None:
    """Records of before it shared its state bear that name."""
    with pytest.raises(HostUnsupported, match="no other has"):
        this_machine(EMBEDDED_HOST, is_one_of_many=True)


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
