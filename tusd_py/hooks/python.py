"""Hooks that are Python: a class or a callable, found by entry point or as ``module:name``.

* A class, made with ``options`` as keyword arguments, that is an ``EventSink``, a ``Gate`` or both.
* A callable: with ``gates`` it is asked each ``Question`` and returns ``Allow()`` or
  ``Refuse(sentence)``; without, it is told each ``Event``. It gets ``options`` as keyword
  arguments. One that is not ``async`` runs in a thread, so that it never blocks the server; where
  it outlasts its deadline, the thread goes on while the event is delivered again.
"""

import functools
import importlib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from tusd_py.core.events import Event
from tusd_py.hooks.base import Allow, EventSink, Gate, Moment, Question, Refuse
from tusd_py.hooks.kinds import Hook, HookSettings, HookUnusable
from tusd_py.hooks.threads import DaemonThreads

GROUP: Final = "tusd_py.hooks"
"""The group of entry points."""


class PythonHookSettings(HookSettings):
    """A class or callable that runs in the server's processes."""

    target: Annotated[str, Field(min_length=1)]
    """"module:name", or the name of an entry point of the group tusd_py.hooks."""
    import_from: Path | None = None
    """A directory in which the module may lie, besides where Python looks anyway."""
    gates: tuple[Moment, ...] = ()
    """What it is asked before: create, finish, terminate. Empty: it is only told afterwards."""
    options: dict[str, Any] = Field(default_factory=dict, repr=False)
    """Keyword arguments for it."""

    @model_validator(mode="after")
    def _are_unique(self) -> "PythonHookSettings":
        if len(set(self.gates)) != len(self.gates):
            raise ValueError("gates names a moment twice")
        return self


class PythonHook(Hook):
    """What ``target`` names, as sink, as gate, or as both."""

    settings_type = PythonHookSettings

    def __init__(self, settings: PythonHookSettings, *, source: str = "") -> None:
        """Imports the target: its code runs. Raises HookUnusable."""
        super().__init__(settings)
        self._sink, gate = _split(_make(settings), settings)
        self._gates = MappingProxyType({moment: gate for moment in settings.gates if gate})
        self._closing: list[EventSink | Gate] = []
        for part in (self._sink, gate):
            if part is not None and part not in self._closing:
                self._closing.append(part)

    @property
    def sink(self) -> EventSink | None:
        return self._sink

    @property
    def gates(self) -> Mapping[Moment, Gate]:
        return self._gates

    async def close(self) -> None:
        while self._closing:
            await self._closing.pop().close()


class CallableSink(EventSink):
    """Tells events to a plain callable."""

    def __init__(self, call: "Call") -> None:
        self._call = call

    async def deliver(self, event: Event) -> None:
        await self._call(event)


class CallableGate(Gate):
    """Asks a plain callable."""

    def __init__(self, call: "Call") -> None:
        self._call = call

    async def decide(self, question: Question) -> Allow | Refuse:
        answer = await self._call(question)
        if not isinstance(answer, Allow | Refuse):
            # None too: a forgotten return must not let everything through.
            raise TypeError(f"a gate returns Allow() or Refuse(…), not {type(answer).__name__}")
        return answer


class Call:
    """One callable, awaited where it is ``async``, else run in a thread."""

    def __init__(self, target: Callable[..., Any], settings: PythonHookSettings) -> None:
        self._target = target
        # iscoroutinefunction looks through functools.partial.
        self._is_async = inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(
            getattr(target, "__call__", None)  # noqa: B004 - its kind is asked, not whether it is
        )
        self._threads = DaemonThreads(f"hook {settings.name}", settings.concurrency)

    async def __call__(self, argument: Event | Question) -> object:
        if self._is_async:
            try:
                return await self._target(argument)
            except SystemExit as exc:  # a hook's wish to end is its failure, not the server's end
                raise RuntimeError("the hook called sys.exit()") from exc
        result: object = await self._threads.run(lambda: self._target(argument))
        # A decorator can hide that a function is async.
        return await result if inspect.isawaitable(result) else result


def _make(settings: PythonHookSettings) -> EventSink | Gate | Call:
    """The object behind ``target``; a class is instantiated."""
    found, options = _find(settings), settings.options
    if inspect.isclass(found):
        try:
            found, options = found(**options), {}
        except Exception as exc:
            raise HookUnusable(
                f"{_label(settings)} cannot be made with its options: {type(exc).__name__}: {exc}"
            ) from exc
    if isinstance(found, EventSink | Gate):
        if options:
            raise HookUnusable(f"{_label(settings)} is an object already: it takes no options")
        return found
    if not callable(found):
        raise HookUnusable(f"{_label(settings)} is neither an EventSink nor a Gate nor callable")
    return Call(functools.partial(found, **options) if options else found, settings)


def _find(settings: PythonHookSettings) -> object:
    if settings.import_from is not None:
        directory = str(settings.import_from.resolve())
        if not settings.import_from.is_dir():
            raise HookUnusable(f"{_label(settings)}: import_from {directory} is no directory")
        # At the end: nothing in it can take the place of an installed module.
        if directory not in sys.path:
            sys.path.append(directory)
    module, colon, name = settings.target.partition(":")
    try:
        if colon:
            return _walk(importlib.import_module(module), name)
        return _entry_point(settings).load()
    except HookUnusable:
        raise
    except ModuleNotFoundError as exc:
        raise HookUnusable(
            f"{_label(settings)}: there is no module {exc.name!r}; import_from names a directory "
            "to look into"
        ) from exc
    except AttributeError as exc:
        raise HookUnusable(f"{_label(settings)} cannot be found: {exc}") from exc
    except Exception as exc:
        raise HookUnusable(
            f"{_label(settings)} cannot be imported: {type(exc).__name__}: {exc}"
        ) from exc


def _walk(found: object, dotted: str) -> object:
    for name in dotted.split("."):
        found = getattr(found, name)
    return found


def _entry_point(settings: PythonHookSettings) -> importlib.metadata.EntryPoint:
    known = importlib.metadata.entry_points(group=GROUP)
    for entry in known:
        if entry.name == settings.target:
            return entry
    names = ", ".join(sorted(known.names)) or "none is installed"
    raise HookUnusable(
        f"{_label(settings)} is neither module:name nor an entry point of the group {GROUP} "
        f"({names})"
    )


def _split(
    made: EventSink | Gate | Call, settings: PythonHookSettings
) -> tuple[EventSink | None, Gate | None]:
    """The sink and the gate that an object is; what contradicts the settings is refused."""
    if isinstance(made, Call):
        made = CallableGate(made) if settings.gates else CallableSink(made)
    sink = made if isinstance(made, EventSink) else None
    gate = made if isinstance(made, Gate) else None
    if settings.gates and gate is None:
        raise HookUnusable(f"{_label(settings)} is set as a gate and is no Gate")
    if sink is None and not settings.gates:
        raise HookUnusable(f"{_label(settings)} is a Gate, and gates is empty: nobody asks it")
    if sink is None and settings.events is not None:
        raise HookUnusable(f"{_label(settings)} is a Gate: it is asked, and told no events")
    return sink, gate if settings.gates else None


def _label(settings: PythonHookSettings) -> str:
    return f"the hook {settings.name} (target {settings.target!r})"
