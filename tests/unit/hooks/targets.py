"""What tests of Python hooks name as ``tests.unit.hooks.targets:…``."""

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any

from tusd_py.core.events import Event
from tusd_py.hooks.base import Allow, EventSink, Gate, Question, Refuse

told: list[Event] = []
threads: list[threading.Thread] = []
held = threading.Event()
"""Set: ``hold`` returns."""


class Sink(EventSink):
    def __init__(self, greeting: str = "") -> None:
        self.greeting = greeting
        self.closed = 0

    async def deliver(self, event: Event) -> None:
        told.append(event)

    async def close(self) -> None:
        self.closed += 1


class Door(Gate):
    async def decide(self, question: Question) -> Allow | Refuse:
        return Refuse("Closed.")


class Both(Sink, Door):
    pass


class Calling:
    """Neither sink nor gate, but async and callable."""

    def __init__(self, into: str = "calling") -> None:
        self.into = into

    async def __call__(self, event: Event) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append(event)


class Nothing:
    pass


class Picky:
    def __init__(self) -> None:
        raise ValueError("no licence")


ready_sink = Sink()
ready_gate = Door()
number = 5


async def tell(event: Event) -> None:
    assert threading.current_thread() is threading.main_thread()
    told.append(event)


def tell_slowly(event: Event, *, word: str = "") -> None:
    threads.append(threading.current_thread())
    told.append(event)
    if word:
        raise LookupError(word)


def hold(event: Event) -> None:
    held.wait(30)
    told.append(event)


def leave(event: Event) -> None:
    raise SystemExit(3)


def stop(event: Event) -> None:
    raise StopIteration


def hidden(call: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that does not say that what it wraps is async."""

    @functools.wraps(call)
    def wrapper(*args: object) -> object:
        return call(*args)

    del wrapper.__wrapped__
    return wrapper


@hidden
async def tell_hidden(event: Event) -> None:
    await asyncio.sleep(0)
    told.append(event)


def ask(question: Question, *, status: int = 403) -> Allow | Refuse:
    threads.append(threading.current_thread())
    return Allow() if question.upload.get("ok") else Refuse("Not this one.", status)


async def ask_async(question: Question) -> Allow | Refuse:
    return Refuse("Never.")


def forgets(question: Question) -> None:
    return None
