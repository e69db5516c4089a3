"""What the commands do. Each prints its result and returns an exit code, or raises what
``session.guarded`` turns into one."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tusd_py import compose
from tusd_py.cli.exits import CommandFailed, Exit, tell
from tusd_py.cli.session import Session
from tusd_py.config import ConfigError
from tusd_py.config.render import build_file, show
from tusd_py.core.commands import Terminate
from tusd_py.core.events import describe
from tusd_py.core.identity import ANYBODY, Claims, Owner
from tusd_py.core.ids import ClientId, UploadId, VideoId, parse_upload_id
from tusd_py.core.upload import Status, Upload
from tusd_py.logs import configure_logs
from tusd_py.service.rebuild import Rebuilt, rebuild
from tusd_py.state.base import DeadLetter, Filter

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class TokenWish:
    """The token that is asked for."""

    video_id: str
    client_id: str
    seconds: float | None = None
    max_bytes: int | None = None
    allowed_types: tuple[str, ...] | None = None
    once: bool = False


@dataclass(frozen=True, slots=True)
class ListWish:
    """The page of uploads that is asked for."""

    video_id: str | None = None
    client_id: str | None = None
    status: Status | None = None
    after: str | None = None
    limit: int = 100


# ------------------------------------------------------------------ tokens


def print_token(session: Session, wish: TokenWish, *, as_json: bool) -> int:
    # Not a word about the development key: the output goes into other commands.
    configure_logs(session.tree.log.model_copy(update={"level": "error"}))
    keys = compose.load_key_ring(session.tree).keys
    token = mint_token(session, keys, wish)
    life = session.tree.auth.settings.token_seconds if wish.seconds is None else wish.seconds
    tell({"token": token, "expires_at": int(time.time() + life)}, token, as_json=as_json)
    return Exit.OK


def mint_token(session: Session, keys: Any, wish: TokenWish) -> str:
    from secrets import token_hex

    from tusd_py.auth.claims import ClaimsMalformed
    from tusd_py.auth.jwt import mint

    claims = Claims(
        owner=Owner(VideoId(wish.video_id), ClientId(wish.client_id)),
        max_bytes=wish.max_bytes,
        allowed_types=wish.allowed_types,
        once_id=token_hex(16) if wish.once else None,
    )
    settings = session.tree.auth.settings
    try:
        return mint(keys, claims, settings, now=time.time(), seconds=wish.seconds)
    except ClaimsMalformed as exc:
        raise CommandFailed(Exit.USAGE, f"no such token can be made: {exc}") from exc


# ------------------------------------------------------------------ uploads


def list_uploads(session: Session, wish: ListWish, *, as_json: bool) -> int:
    wanted = Filter(
        video_id=None if wish.video_id is None else VideoId(wish.video_id),
        client_id=None if wish.client_id is None else ClientId(wish.client_id),
        status=wish.status,
    )
    after = None if wish.after is None else _upload_id(wish.after)
    if not 1 <= wish.limit <= 10_000:
        raise CommandFailed(Exit.USAGE, "--limit must be from 1 to 10000")

    async def page(engine: compose.Engine) -> list[Upload]:
        return list(await engine.state.page(wanted, after=after, limit=wish.limit))

    found = _with_engine(session, page, records_only=True)
    next_id = found[-1].id if len(found) == wish.limit else None
    lines = [_line_of(upload) for upload in found]
    if next_id is not None:
        lines.append(f"more: --after {next_id}")
    value = {"uploads": [describe(one) for one in found], "next_after": next_id}
    tell(value, "\n".join(lines) or "no uploads", as_json=as_json)
    return Exit.OK


def show_upload(session: Session, text: str, *, as_json: bool) -> int:
    upload_id = _upload_id(text)

    async def find(engine: compose.Engine) -> Upload | None:
        return await engine.state.find(upload_id)

    upload = _with_engine(session, find, records_only=True)
    if upload is None:
        raise CommandFailed(Exit.NOT_FOUND, f"there is no upload {upload_id}")
    value = describe(upload)
    lines = (f"{key}: {_plain(one)}" for key, one in value.items() if one not in (None, {}, ""))
    tell(value, "\n".join(lines), as_json=as_json)
    return Exit.OK


def delete_upload(session: Session, text: str, *, as_json: bool) -> int:
    upload_id = _upload_id(text)

    async def terminate(engine: compose.Engine) -> None:
        await engine.uploads.terminate(Terminate(upload_id=upload_id), ANYBODY)

    _with_engine(session, terminate)
    tell({"deleted": upload_id}, f"deleted {upload_id}", as_json=as_json)
    return Exit.OK


def _line_of(upload: Upload) -> str:
    length = "?" if upload.length is None else upload.length
    owner = f"video {upload.owner.video_id} client {upload.owner.client_id}"
    return _plain(f"{upload.id}  {upload.status.value:<10}  {upload.offset}/{length}  {owner}")


def _plain(value: Any) -> str:
    # Text of clients goes to a terminal: nothing in it may steer that.
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))


def _upload_id(text: str) -> UploadId:
    # A pasted address serves as well as the id at its end.
    if (found := parse_upload_id(text.rstrip("/").rpartition("/")[2])) is None:
        raise CommandFailed(Exit.USAGE, "an upload's id has 32 hexadecimal digits")
    return found


# ------------------------------------------------------------------ state and events


def rebuild_state(session: Session, *, as_json: bool) -> int:
    async def run(engine: compose.Engine) -> Rebuilt:
        # A state that began anew does not know the hooks, and completions are told again.
        if engine.subscriptions:
            await engine.state.register(list(engine.subscriptions))
        return await rebuild(engine.parts)

    result = _with_engine(session, run)
    text = (
        f"{result.uploads} uploads in the store, {result.adopted} records made, "
        f"{len(result.failed)} failed"
    )
    tell(dataclasses.asdict(result), text, as_json=as_json)
    return Exit.FAILED if result.failed else Exit.OK


def list_dead_letters(session: Session, hook: str | None, limit: int, *, as_json: bool) -> int:
    async def run(engine: compose.Engine) -> list[DeadLetter]:
        return list(await engine.state.dead_letters(hook=hook, limit=limit))

    letters = _with_engine(session, run, records_only=True)
    value = [_describe_letter(letter) for letter in letters]
    lines = [
        _plain(f"{one['event_id']}  {one['hook']}  {one['kind']}  {one['reason']}") for one in value
    ]
    tell({"dead_letters": value}, "\n".join(lines) or "no dead letters", as_json=as_json)
    return Exit.OK


def _describe_letter(letter: DeadLetter) -> dict[str, Any]:
    event = letter.delivery.event
    return {
        "event_id": event.id,
        "hook": letter.delivery.hook,
        "kind": event.kind.value,
        "upload_id": event.upload_id,
        "attempts": letter.delivery.attempts,
        "reason": letter.reason,
        "buried_at": letter.buried_at,
    }


def replay_dead_letters(
    session: Session, hook: str | None, event_id: str | None, *, as_json: bool
) -> int:
    async def run(engine: compose.Engine) -> int:
        return await engine.state.replay(hook=hook, event_id=event_id, now=time.time())

    count = _with_engine(session, run, records_only=True)
    if not count and event_id is not None:
        raise CommandFailed(Exit.NOT_FOUND, f"there is no dead letter of event {event_id}")
    tell({"replayed": count}, f"{count} events will be sent again", as_json=as_json)
    return Exit.OK


def _with_engine(
    session: Session,
    work: Callable[[compose.Engine], Awaitable[Result]],
    *,
    records_only: bool = False,
) -> Result:
    """Run ``work`` on store, state and services as a server has them, without a network."""

    async def run() -> Result:
        async with compose.open_engine(made) as engine:
            return await work(engine)

    tree = session.tree
    configure_logs(tree.log.model_copy(update={"level": "warning"}))
    made = compose.plan(tree, records_only=records_only)
    return asyncio.run(run())


# ------------------------------------------------------------------ configuration


def check_config(session: Session, *, as_json: bool) -> int:
    problems: tuple[str, ...] = ()
    try:
        compose.check(session.tree)
    except ConfigError as exc:
        problems = exc.problems
    value = {"ok": not problems, "problems": list(problems)}
    tell(value, "\n".join(problems) or "the configuration is fine", as_json=as_json)
    return Exit.CONFIGURATION if problems else Exit.OK


def show_config(session: Session, *, as_json: bool) -> int:
    shown = list(show(session.tree))
    value = {one.name: {"value": one.value, "origin": one.origin} for one in shown}
    lines = [f"{one.name} = {one.value!r}  ({one.origin})" for one in shown]
    tell(value, "\n".join(lines), as_json=as_json)
    return Exit.OK


def init_config(target: str, *, as_json: bool) -> int:
    text = build_file()
    if target == "-":
        tell({"text": text}, text.rstrip("\n"), as_json=as_json)
        return Exit.OK
    try:
        with Path(target).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as exc:
        raise CommandFailed(Exit.FAILED, f"{target} exists already; nothing was written") from exc
    except OSError as exc:
        raise CommandFailed(Exit.FAILED, f"{target} cannot be written: {exc.strerror}") from exc
    tell({"file": target}, f"wrote {target}", as_json=as_json)
    return Exit.OK
