"""``state copy``: where from, where to, and what is said of it.

An end is named in a few words (``sqlite:PATH``, a Redis URL), by a configuration file of a server
that works on it, or as ``config``: what this command's own settings say.
"""

import asyncio
import dataclasses
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tusd_py import compose, config, registry
from tusd_py.cli.exits import CommandFailed, Exit, tell
from tusd_py.cli.session import Session
from tusd_py.config import Collected, Tree
from tusd_py.config.sources import Given
from tusd_py.host import Machine, this_machine
from tusd_py.logs import configure_logs
from tusd_py.service.moving import Moved, MoveDiffers, move
from tusd_py.state.base import StateStore
from tusd_py.stores.base import ByteStore

CONFIGURED: Final = "config"
SQLITE: Final = "sqlite:"
REDIS: Final = ("redis://", "rediss://", "unix://")
FORMS: Final = (
    '"config" for the configured state, "sqlite:PATH", "redis://HOST:PORT/NUMBER" (also rediss:// '
    "and unix://), or the path of a configuration file (.toml) whose [state] is meant"
)
NEXT: Final = """\
Both were read again and compared: they hold the same. The source was left as it is.
Next: let [state] of every server's configuration name the copy, start the servers, and keep the
source, with no server on it, until you have seen uploads go on. Each upload that is not finished is
compared with its bytes once before it goes on; for a moment its client is told to try again."""


@dataclass(frozen=True, slots=True)
class End:
    """One end of the copy."""

    name: str
    """As it is told: a URL without its password."""
    tree: Tree
    machine: Machine

    def make(self, store: ByteStore) -> StateStore:
        """Its state, not opened yet."""
        return compose.build_state(self.tree, self.machine, store.durability)


def copy_state(session: Session, source: str, target: str, *, as_json: bool) -> int:
    configure_logs(session.tree.log.model_copy(update={"level": "warning"}))
    ends = _end(session, "--from", source), _end(session, "--to", target)
    _refuse_the_same(*ends)
    _refuse_what_is_not_there(ends[0])
    moved = asyncio.run(_copy(*ends, tell=_silent if as_json else _progress))
    value = {"from": ends[0].name, "to": ends[1].name, **dataclasses.asdict(moved)}
    text = (
        f"copied from {ends[0].name} to {ends[1].name}: {moved.uploads} uploads, {moved.waiting} "
        f"events that wait, {moved.dead_letters} dead letters, {moved.remembered} events that are "
        f"remembered\n{NEXT}"
    )
    tell(value, text, as_json=as_json)
    return Exit.OK


async def _copy(source: End, target: End, *, tell: Callable[[str], None]) -> Moved:
    async with AsyncExitStack() as stack:
        store = compose.build_store(target.tree)
        await store.open()
        stack.push_async_callback(store.close)
        states = []
        for end in (source, target):
            state = end.make(store)
            await state.open()
            stack.push_async_callback(state.close)
            states.append(state)
        try:
            moved = await move(*states, tell=tell)
        except MoveDiffers as exc:
            text = f"{exc}. Do not use the copy: remove it, and copy again"
            raise CommandFailed(Exit.FAILED, text) from exc
        await _rename_machine(store, target.machine)
        return moved


async def _rename_machine(store: ByteStore, machine: Machine) -> None:
    """What this machine wrote under the name that the source has for it is believed as long as the
    machine does not restart, and no longer: beside the bytes it is called as the target calls it.
    """
    await compose.tell_boot(store, machine)
    for name in await store.hosts_of(machine.boot.boot_id):
        if name != machine.boot.host:
            await store.withdraw_boot(name)


# ------------------------------------------------------------------ ends


def _end(session: Session, flag: str, text: str) -> End:
    tree = _tree(session, flag, text)
    is_shared = registry.load(registry.STATES[tree.state.kind]).serves_many_hosts
    machine = this_machine(tree.process.host_name, is_one_of_many=is_shared)
    return End(_shown(text), tree, machine)


def _tree(session: Session, flag: str, text: str) -> Tree:
    """The settings of one end. Raises ConfigError."""
    if text == CONFIGURED:
        return session.tree
    if text.startswith(SQLITE):
        return _with_state(session, flag, {"kind": "sqlite", "path": text.removeprefix(SQLITE)})
    if text.startswith(REDIS):
        return _with_state(session, flag, {"kind": "redis", "url": text})
    if Path(text).suffix == ".toml":
        # As a server with this file has it; what this command line says of [state] is for "config".
        flags = {k: v for k, v in session.flags.values.items() if not k.startswith("state.")}
        return config.load(file=Path(text), environment=session.environment, flags=flags)
    raise CommandFailed(Exit.USAGE, f"{flag} {_shown(text)!r} is no state: give {FORMS}")


def _with_state(session: Session, flag: str, state: dict[str, str]) -> Tree:
    given = session.tree.given
    section = {key: Given(value, flag, is_text=True) for key, value in state.items()}
    sections = {**given.sections, "state": section}
    return config.build(Collected(sections, given.hooks, given.top, given.problems))


def _shown(text: str) -> str:
    """Without what stands before an @: there may be a password in it."""
    scheme, mark, rest = text.partition("://")
    return f"{scheme}://…@{rest.rpartition('@')[2]}" if mark and "@" in rest else text


def _refuse_the_same(source: End, target: End) -> None:
    if source.tree.state == target.tree.state:
        raise CommandFailed(Exit.USAGE, "--from and --to name the same state")


def _refuse_what_is_not_there(source: End) -> None:
    """A state file would be made where there is none."""
    path = getattr(source.tree.state.settings, "path", None)
    if path is not None and not path.exists():
        raise CommandFailed(Exit.NOT_FOUND, f"there is no state file {path}: nothing was copied")


def _progress(step: str) -> None:
    print(f"{step} …", file=sys.stderr)


def _silent(_: str) -> None:
    """Who reads JSON reads no progress."""
