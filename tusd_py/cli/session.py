"""One run of a command: its settings, and faults of the parts as exit codes."""

import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tusd_py import config
from tusd_py.auth.keys import KeyUnusable
from tusd_py.cli.exits import CommandFailed, Exit
from tusd_py.cli.flags import Flags
from tusd_py.config import ConfigError, Tree
from tusd_py.core.errors import (
    GateFailed,
    GateRefused,
    StateUnavailable,
    StorageFailed,
    StorageFull,
    UploadError,
    UploadLocked,
    UploadUnknown,
)
from tusd_py.hooks.kinds import HookUnusable
from tusd_py.host import HostUnsupported
from tusd_py.state.base import StateError
from tusd_py.state.moving import MoveRefused
from tusd_py.stores.base import StoreError

EXIT_OF: Mapping[type[UploadError], Exit] = {
    UploadUnknown: Exit.NOT_FOUND,
    UploadLocked: Exit.REFUSED,
    GateRefused: Exit.REFUSED,
    GateFailed: Exit.REFUSED,
    StateUnavailable: Exit.UNAVAILABLE,
    StorageFailed: Exit.UNAVAILABLE,
    StorageFull: Exit.UNAVAILABLE,
}


class Session:
    """The settings of one run: file, environment and flags, read when they are first needed."""

    def __init__(self, flags: Flags, environment: Mapping[str, str] = os.environ) -> None:
        self.flags = flags
        self.environment = environment

    @functools.cached_property
    def tree(self) -> Tree:
        """Raises ConfigError."""
        return config.load(
            file=self.flags.file, environment=self.environment, flags=self.flags.values
        )


@contextmanager
def guarded() -> Iterator[None]:
    """What parts raise ends the command with its code and one sentence."""
    try:
        yield
    except (ConfigError, KeyUnusable, HookUnusable, HostUnsupported) as exc:
        raise CommandFailed(Exit.CONFIGURATION, str(exc)) from exc
    except MoveRefused as exc:
        raise CommandFailed(Exit.REFUSED, str(exc)) from exc
    except (StateError, StoreError) as exc:
        raise CommandFailed(Exit.UNAVAILABLE, _with_cause(exc)) from exc
    except UploadError as exc:
        code = EXIT_OF.get(type(exc), Exit.FAILED)
        raise CommandFailed(code, str(exc)) from exc


def _with_cause(exc: BaseException) -> str:
    cause = exc.__cause__
    text = str(exc) or type(exc).__name__
    return text if cause is None or str(cause) in text else f"{text} ({cause})"
