"""All commands but ``serve``, as a parser for them. Settings were taken off the line before."""

from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from tusd_py import __version__
from tusd_py.cli import commands
from tusd_py.cli.exits import EXIT_CODES, CommandFailed, Exit, tell_failure
from tusd_py.cli.moving import FORMS, copy_state
from tusd_py.cli.session import Session
from tusd_py.core.upload import Status

Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON document.")]
Video = Annotated[str, Parameter(name="--video-id", help="The video the file belongs to.")]
Client = Annotated[str, Parameter(name="--client-id", help="The client the file belongs to.")]

SETTINGS_HELP = """\
Every command takes the settings of the server: --config FILE (else TUSD_PY_CONFIG, else
./tusd.toml where it is), --data-dir DIR (TUSD_PY_DATA_DIR, default ./data), --SECTION.KEY VALUE
(TUSD_PY_SECTION_KEY), --hooks JSON (TUSD_PY_HOOKS). Flags win over the environment, the environment
over the file. "tusd-py serve --help" lists all of them."""


def run_command(words: list[str], session: Session) -> int:
    """Parse and run; the exit code."""
    app = build_app(session, with_settings="serve" in words[:1])
    try:
        code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as exc:
        tell_failure(Exit.USAGE, str(exc), as_json="--json" in words)
        return Exit.USAGE
    except CommandFailed as exc:
        tell_failure(exc.code, str(exc), as_json="--json" in words)
        return exc.code
    return code if isinstance(code, int) else Exit.OK


def build_app(session: Session, *, with_settings: bool = False) -> App:
    """The parser of every command."""
    app = App(
        name="tusd-py",
        help="A resumable-upload server (tus 1.0.0) for video platforms.",
        help_epilogue=f"{SETTINGS_HELP}\n\n{EXIT_CODES}",
        help_format="plaintext",
        help_formatter="plain",
        version=__version__,
    )
    _add_serve(app, session, with_settings=with_settings)
    _add_token(app, session)
    _add_uploads(app, session)
    _add_state(app, session)
    _add_config(app, session)
    return app


def _add_serve(app: App, session: Session, *, with_settings: bool) -> None:
    epilogue = ""
    if with_settings:
        from tusd_py.config.render import build_flag_help

        epilogue = f"{SETTINGS_HELP}\n{build_flag_help()}\n\n{EXIT_CODES}"

    @app.command(help_epilogue=epilogue)
    def serve(
        *,
        ready_fd: Annotated[int | None, Parameter(name="--ready-fd", show=False)] = None,
        json: Json = False,
    ) -> int:
        """Start the server. SIGTERM or SIGINT stops it gracefully, a second one at once."""
        from tusd_py.cli.serve import serve as start

        return start(session, ready_fd=ready_fd, as_json=json)


def _add_token(app: App, session: Session) -> None:
    @app.command
    def token(
        *,
        video_id: Video,
        client_id: Client,
        seconds: Annotated[float | None, Parameter(help="Life time [auth.token_seconds].")] = None,
        max_size: Annotated[int | None, Parameter(help="Longest file, in bytes.")] = None,
        allowed_types: Annotated[
            str | None, Parameter(help="File types, with commas: video/mp4,video/*.")
        ] = None,
        once: Annotated[bool, Parameter(negative=(), help="For one file only.")] = False,
        json: Json = False,
    ) -> int:
        """Make a token (JWT) with which a client may upload for one video."""
        types = tuple(t.strip() for t in allowed_types.split(",")) if allowed_types else None
        wish = commands.TokenWish(video_id, client_id, seconds, max_size, types, once)
        return commands.print_token(session, wish, as_json=json)


def _add_uploads(app: App, session: Session) -> None:
    uploads = App(name="uploads", help="Look at uploads and remove them.")
    app.command(uploads)

    @uploads.command(name="list")
    def list_uploads(
        *,
        video_id: Annotated[str | None, Parameter(name="--video-id")] = None,
        client_id: Annotated[str | None, Parameter(name="--client-id")] = None,
        status: Annotated[Status | None, Parameter(help="Only uploads that stand so.")] = None,
        after: Annotated[str | None, Parameter(help="The last id of the page before.")] = None,
        limit: Annotated[int, Parameter(help="Uploads on a page.")] = 100,
        json: Json = False,
    ) -> int:
        """List uploads by id, a page at a time."""
        wish = commands.ListWish(video_id, client_id, status, after, limit)
        return commands.list_uploads(session, wish, as_json=json)

    @uploads.command
    def show(upload_id: str, /, *, json: Json = False) -> int:
        """Show one upload."""
        return commands.show_upload(session, upload_id, as_json=json)

    @uploads.command
    def delete(upload_id: str, /, *, json: Json = False) -> int:
        """Remove one upload, as a DELETE of a client does: hooks are asked and told."""
        return commands.delete_upload(session, upload_id, as_json=json)


def _add_state(app: App, session: Session) -> None:
    state = App(name="state", help="Repair the state, or move it into another store.")
    app.command(state)

    @state.command
    def rebuild(*, json: Json = False) -> int:
        """Make records anew from what lies in the store. Servers may be running meanwhile."""
        return commands.rebuild_state(session, as_json=json)

    @state.command
    def copy(
        *,
        source: Annotated[str, Parameter(name="--from", help=f"What to copy: {FORMS}.")],
        target: Annotated[str, Parameter(name="--to", help="Where to: as --from; empty.")],
        json: Json = False,
    ) -> int:
        """Copy all records and events into another state, and compare both. No server may run on
        either: stop them all first. The source stays as it is."""
        return copy_state(session, source, target, as_json=json)

    events = App(name="events", help="Look after events that hooks did not take.")
    app.command(events)
    hook_type = Annotated[str | None, Parameter(help="Only those of this hook.")]

    @events.command
    def dead(*, hook: hook_type = None, limit: int = 100, json: Json = False) -> int:
        """List dead letters: events that a hook did not take in all its time."""
        return commands.list_dead_letters(session, hook, limit, as_json=json)

    @events.command
    def replay(
        *,
        hook: hook_type = None,
        event_id: Annotated[str | None, Parameter(name="--event-id")] = None,
        json: Json = False,
    ) -> int:
        """Send dead letters again: all, those of a hook, or one event."""
        return commands.replay_dead_letters(session, hook, event_id, as_json=json)


def _add_config(app: App, session: Session) -> None:
    config = App(name="config", help="Check, show and begin a configuration.")
    app.command(config)

    @config.command
    def check(*, json: Json = False) -> int:
        """Say everything that is wrong with the settings; exit 3 where anything is."""
        return commands.check_config(session, as_json=json)

    @config.command
    def show(*, json: Json = False) -> int:
        """Show every setting in effect and where it came from; secrets are hidden."""
        return commands.show_config(session, as_json=json)

    @config.command
    def init(
        file: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-", /, *, json: Json = False
    ) -> int:
        """Write a file of every setting, commented, at its default (to "-": print it)."""
        return commands.init_config(file, as_json=json)
