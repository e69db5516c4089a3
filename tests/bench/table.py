"""The table that a run prints, and the same as JSON."""

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import psutil

from tests.bench.figures import Figure
from tests.bench.run import Results, figures
from tests.bench.servers import Contender
from tests.bench.sizes import KIB, MIB, Sizes

NOTHING: Final = "-"
BUSY_LOAD: Final = 0.5
"""Load per processor before the run from which on the figures are doubtful."""


def describe_machine(directory: Path) -> list[str]:
    """Where it was measured, and what is doubtful about it."""
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0]
    lines = [
        f"{cores} cores, Linux {platform.release()}, Python {platform.python_version()}, "
        f"{_file_system(directory)}, loopback, load {load:.1f} before the run",
        "server, its Redis and client share the cores; nothing is pinned; medians",
    ]
    if load > BUSY_LOAD * cores:
        lines.append("THE MACHINE WAS BUSY with other things: the figures are doubtful")
    return lines


def build_table(contenders: Sequence[Contender], results: Results, sizes: Sizes) -> str:
    """One row a figure, one column a server."""
    names = [one.name for one in contenders]
    rows = [["", "", *names], *_rows(names, results, sizes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[2:], widths[2:], strict=True))
        for row in rows
    )


def build_document(
    contenders: Sequence[Contender], results: Results, sizes: Sizes, machine: Sequence[str]
) -> dict[str, Any]:
    """All samples, for machines."""
    return {
        "machine": list(machine),
        "servers": {one.name: one.how for one in contenders},
        "sizes": asdict(sizes),
        "figures": {
            one.key: {"title": _title(one.title, sizes).strip(), "unit": one.unit}
            for one in figures()
        },
        "samples": results.samples,
        "values": {
            one.name: {figure.key: results.value(one.name, figure) for figure in figures()}
            for one in contenders
        },
        "notes": results.notes,
    }


def _rows(names: Sequence[str], results: Results, sizes: Sizes) -> Iterator[list[str]]:
    for figure in figures():
        found = [results.value(name, figure) for name in names]
        if any(value is not None for value in found):
            cells = [_cell(figure, value) for value in found]
            yield [_title(figure.title, sizes), figure.unit, *cells]


def _cell(figure: Figure, value: float | None) -> str:
    if value is None:
        return NOTHING
    shown = f"{min(value, figure.ceiling):,.{figure.digits}f}"
    return f">{shown}" if value >= figure.ceiling else shown


def _title(title: str, sizes: Sizes) -> str:
    shown = {
        name: _bytes(value) if name.endswith("_bytes") else f"{value:,}"
        for name, value in asdict(sizes).items()
    }
    return title.format_map(shown)


def _bytes(count: int) -> str:
    for size, unit in ((MIB, "MiB"), (KIB, "KiB")):
        if count >= size and count % size == 0:
            return f"{count // size} {unit}"
    return f"{count:,} bytes"


def _file_system(directory: Path) -> str:
    """The type of the mount that the directory lies in."""
    mounts = [
        one
        for one in psutil.disk_partitions(all=True)
        if directory.resolve().is_relative_to(one.mountpoint)
    ]
    return max(mounts, key=lambda one: len(one.mountpoint)).fstype if mounts else "unknown"
