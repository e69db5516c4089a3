"""Hooks that are Python: what may be named, and how it is called."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.hooks import targets
from tests.unit.hooks.events import an_event
from tests.unit.web.rig import until
from tusd_py.hooks.base import Allow, Moment, Question, Refuse
from tusd_py.hooks.kinds import HookUnusable
from tusd_py.hooks.python import PythonHook, PythonHookSettings

HERE = "tests.unit.hooks.targets:"
QUESTION = Question(moment=Moment.CREATE, upload={})


@pytest.fixture(autouse=True)
def nothing_was_told() -> Iterator[None]:
    targets.told.clear()
    targets.threads.clear()
    targets.held.clear()
    yield
    targets.held.set()


def hook(target: str, **changes: Any) -> PythonHook:
    name = HERE + target if target in vars(targets) else target
    settings = {"name": "mine", "target": name, **changes}
    return PythonHook(PythonHookSettings.model_validate(settings), source="x")


async def tell(made: PythonHook) -> None:
    assert made.sink is not None
    await made.sink.deliver(an_event())


# ------------------------------------------------------------------ sinks


@pytest.mark.parametrize(
    "target", ["Sink", "ready_sink", "tell", "tell_slowly", "tell_hidden", "Calling", "Both"]
)
async def test_whatever_can_be_told_is_told(target: str) -> None:
    """Classes, objects, functions; async and not, also where a decorator hides it."""
    made = hook(target)
    await tell(made)
    assert targets.told == [an_event()]
    assert not made.gates
    await made.close()


async def test_a_class_gets_its_options() -> None:
    """As keyword arguments."""
    sink = hook("Sink", options={"greeting": "hello"}).sink
    assert isinstance(sink, targets.Sink) and sink.greeting == "hello"


async def test_a_callable_gets_its_options_with_each_event() -> None:
    """And what it raises reaches the dispatcher."""
    with pytest.raises(LookupError, match="lost"):
        await tell(hook("tell_slowly", options={"word": "lost"}))


async def test_a_callable_that_may_block_runs_in_a_thread_that_nobody_waits_for() -> None:
    """It blocks neither the loop nor the end of the process."""
    await tell(hook("tell_slowly"))
    (thread,) = targets.threads
    assert thread is not threading.main_thread() and thread.daemon
    assert "mine" in thread.name


@pytest.mark.parametrize("target", ["leave", "stop"])
async def test_a_callable_that_wants_to_end_the_server_only_fails(target: str) -> None:
    """SystemExit and StopIteration become ordinary errors."""
    with pytest.raises(RuntimeError, match="the hook raised S"):
        await tell(hook(target))


async def test_callables_that_hang_take_no_more_threads_than_allowed() -> None:
    """Their deliveries time out; the next ones wait for a place; when they return, all goes on."""
    made = hook("hold", concurrency=2)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await tell(made)
    hanging = [thread for thread in threading.enumerate() if thread.name == "hook mine"]
    assert len(hanging) == 2
    targets.held.set()
    await tell(made)
    async with asyncio.timeout(10):
        await until(lambda: len(targets.told) == 3)  # those that hung need a moment to say so


async def test_closing_closes_what_the_target_made_once() -> None:
    """Also one that is both a sink and a gate, and also when called twice."""
    made = hook("Both", gates=["create"])
    await made.close()
    await made.close()
    assert isinstance(made.sink, targets.Both) and made.sink.closed == 1


# ------------------------------------------------------------------ gates


async def test_a_gate_is_asked_at_its_moments() -> None:
    """A class that is both is told, too."""
    made = hook("Both", gates=["create", "finish"])
    assert set(made.gates) == {Moment.CREATE, Moment.FINISH}
    assert await made.gates[Moment.FINISH].decide(QUESTION) == Refuse("Closed.")
    assert made.sink is not None


@pytest.mark.parametrize("target", ["Door", "ready_gate"])
async def test_a_gate_alone_is_told_nothing(target: str) -> None:
    """No event waits for it."""
    made = hook(target, gates=["create"])
    assert made.sink is None
    assert await made.gates[Moment.CREATE].decide(QUESTION) == Refuse("Closed.")


async def test_a_callable_with_gates_is_asked() -> None:
    """With its options, in a thread where it is not async; it is told no events."""
    made = hook("ask", gates=["create"], options={"status": 409})
    gate = made.gates[Moment.CREATE]
    assert made.sink is None
    assert await gate.decide(QUESTION) == Refuse("Not this one.", 409)
    assert await gate.decide(Question(moment=Moment.CREATE, upload={"ok": True})) == Allow()
    assert threading.main_thread() not in targets.threads
    asynchronous = hook("ask_async", gates=["finish"]).gates[Moment.FINISH]
    assert await asynchronous.decide(QUESTION) == Refuse("Never.")


async def test_a_gate_that_forgets_to_answer_has_not_allowed() -> None:
    """None is no answer."""
    with pytest.raises(TypeError, match=r"Allow\(\) or Refuse"):
        await hook("forgets", gates=["create"]).gates[Moment.CREATE].decide(QUESTION)


# ------------------------------------------------------------------ what stops the start


@pytest.mark.parametrize(
    ("target", "changes", "why"),
    [
        ("nowhere_to_be_found:Sink", {}, "no module 'nowhere_to_be_found'; import_from"),
        ("tests.unit.hooks.targets:Missing", {}, "has no attribute 'Missing'"),
        ("tests.unit.hooks.targets:", {}, "cannot be"),
        (":Sink", {}, "cannot be imported"),
        ("unheard-of", {}, r"neither module:name nor an entry point .* \(none is installed\)"),
        ("Nothing", {}, "neither an EventSink nor a Gate nor callable"),
        ("number", {}, "neither an EventSink nor a Gate nor callable"),
        ("Picky", {}, "cannot be made with its options: ValueError: no licence"),
        ("Sink", {"options": {"colour": "red"}}, "cannot be made with its options: TypeError"),
        ("ready_sink", {"options": {"greeting": "x"}}, "takes no options"),
        ("Sink", {"gates": ["create"]}, "is set as a gate and is no Gate"),
        ("Door", {}, "gates is empty: nobody asks it"),
        ("Door", {"gates": ["create"], "events": ["upload.completed"]}, "told no events"),
        ("tell", {"import_from": "/nowhere/at/all"}, "is no directory"),
    ],
)
def test_a_target_that_cannot_work_stops_the_start_and_says_why(
    target: str, changes: dict[str, Any], why: str
) -> None:
    """The hook and its target are named."""
    with pytest.raises(HookUnusable, match=why) as caught:
        hook(target, **changes)
    assert str(caught.value).startswith("the hook mine (target ")


@pytest.mark.parametrize(
    "changes", [{"gates": ["create", "create"]}, {"gates": ["begin"]}, {"target": ""}]
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    """Before anything is imported."""
    with pytest.raises(ValidationError):
        PythonHookSettings.model_validate({"name": "mine", "target": "a:b"} | changes)


def test_options_are_not_shown() -> None:
    """They may hold a password."""
    settings = PythonHookSettings(name="mine", target="a:b", options={"password": "hunter2"})
    assert "hunter2" not in repr(settings)


@pytest.fixture
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.usefixtures("own_path")
def test_a_module_of_ones_own_is_found_where_import_from_says(tmp_path: Path) -> None:
    """A newcomer's hooks.py; the directory comes last, so that it hides nothing installed."""
    (tmp_path / "my_own_hooks_5.py").write_text("def told(event):\n    raise OSError\n")
    (tmp_path / "json.py").write_text("raise OSError\n")
    made = hook("my_own_hooks_5:told", import_from=str(tmp_path))
    assert made.sink is not None
    assert sys.path[-1] == str(tmp_path)
    sys.modules.pop("my_own_hooks_5")


@pytest.mark.usefixtures("own_path")
@pytest.mark.parametrize("text", ["1 / 0", "def broken(", "raise SystemError('no')"])
def test_a_module_that_cannot_be_imported_stops_the_start(tmp_path: Path, text: str) -> None:
    """Its own error is in the text."""
    (tmp_path / "broken_hooks_5.py").write_text(text)
    with pytest.raises(HookUnusable, match=r"cannot be imported: .*Error"):
        hook("broken_hooks_5:told", import_from=str(tmp_path))


def test_a_target_may_be_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the group tusd_py.hooks; a wrong name is answered with those that are installed."""
    entry = EntryPoint("sorter", HERE + "Sink", "tusd_py.hooks")
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: EntryPoints([entry]).select(group=group)
    )
    assert isinstance(hook("sorter").sink, targets.Sink)
    with pytest.raises(HookUnusable, match=r"\(sorter\)"):
        hook("sortre")
