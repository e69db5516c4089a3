"""This machine and this run of it: its boot, a clock that cannot jump, randomness.

Linux alone tells which boot a page cache belongs to. Elsewhere the server says so and does not
start, because it could not tell after a loss of power which bytes to believe.
"""

import hashlib
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from typing import Final

from tusd_py.core.ids import ID_BYTES, UploadId, build_upload_id
from tusd_py.core.upload import Boot

BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
EMBEDDED_HOST: Final = "local"
"""The machine's name in an embedded state, which one machine alone can use. A name that does not
change counts: the name of a container or of a restored machine does, and then a record of before
the restart would be compared with a boot that nobody publishes any more."""
MACHINE_ID_FILE: Final = Path("/etc/machine-id")
_MACHINE_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_APPLICATION: Final = b"tusd_py host\n"
"""machine-id(5): "it must not be exposed"; hashed with this it is no other program's name."""
NAME_DIGITS: Final = 12


class HostUnsupported(Exception):
    """This system lacks something the server cannot do without; the text says what."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the server needs of the machine it runs on."""

    boot: Boot
    clock: Callable[[], float]
    """Seconds; never jumps, and counts while the machine sleeps. Safe in any thread."""
    now: Callable[[], float]
    """Unix time."""
    other_names: tuple[str, ...]
    """What it may have been called before, as one of many or alone. Nothing holds any more that
    was said under these: the machine may have restarted since."""
    new_upload_id: Callable[[], UploadId]


def this_machine(
    name: str | None = None,
    *,
    is_one_of_many: bool = False,
    boot_id_file: Path = BOOT_ID_FILE,
    machine_id_file: Path = MACHINE_ID_FILE,
) -> Machine:
    """The machine as it runs now. ``is_one_of_many``: others share its state, so that it needs a
    name of its own. Raises HostUnsupported where it is not Linux, or has no such name."""
    id_name = _id_name(machine_id_file)
    if is_one_of_many:
        name = _own(name or id_name, machine_id_file)
    host = name or EMBEDDED_HOST
    return Machine(
        boot=Boot(host=host, boot_id=_read_boot_id(boot_id_file)),
        clock=_boottime(),
        now=time.time,
        other_names=tuple(one for one in (EMBEDDED_HOST, id_name) if one and one != host),
        new_upload_id=lambda: build_upload_id(token_bytes(ID_BYTES)),
    )


def _id_name(machine_id_file: Path) -> str | None:
    """A name made of the machine's id; None where it has none."""
    try:
        machine_id = machine_id_file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    # While an image boots for the first time it holds the word "uninitialized".
    if not _MACHINE_ID.fullmatch(machine_id):
        return None
    digest = hashlib.sha256(_APPLICATION + machine_id.encode("ascii")).hexdigest()
    return f"m-{digest[:NAME_DIGITS]}"


def _own(host: str | None, machine_id_file: Path) -> str:
    """``host``, if it may be the name of one of many."""
    if host is None:
        raise HostUnsupported(
            "machines that share a state need a name each that never changes, and this one has no "
            f"id ({machine_id_file}): set process.host_name (TUSD_PY_PROCESS_HOST_NAME), in a "
            "container to the name of the node it runs on"
        )
    if host == EMBEDDED_HOST:
        raise HostUnsupported(
            f"process.host_name {host!r} is the name of any machine that has its state to itself: "
            "give this one a name that no other has"
        )
    return host


def _read_boot_id(file: Path) -> str:
    try:
        boot_id = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise HostUnsupported(
            f"the id of this boot cannot be read ({file}: {exc}); the server needs Linux with /proc"
        ) from exc
    if not boot_id:
        raise HostUnsupported(f"{file} is empty; the server needs the id of this boot")
    return boot_id


def _boottime() -> Callable[[], float]:
    # CLOCK_MONOTONIC stands still while the machine sleeps: a lease would outlive its deadline.
    if sys.platform != "linux" or not hasattr(time, "CLOCK_BOOTTIME"):
        raise HostUnsupported("the server needs a clock that cannot jump (CLOCK_BOOTTIME, Linux)")
    boottime = time.CLOCK_BOOTTIME
    return lambda: time.clock_gettime(boottime)
