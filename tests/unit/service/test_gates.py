"""A gate that refuses has answered; one that fails has not."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from tusd_py.core.errors import GateFailed, GateRefused
from tusd_py.hooks.base import Allow, Gate, Moment, Question, Refuse
from tusd_py.service.gates import MAX_SENTENCE_CHARS, NO_SENTENCE, Gates
from tusd_py.service.observer import SilentObserver

QUESTION = Question(moment=Moment.FINISH, upload={"upload_id": "a"})


class Asked(Gate):
    """Answers what ``answer`` returns, and remembers the questions."""

    def __init__(self, answer: Callable[[], Awaitable[object]]) -> None:
        self._answer = answer
        self.questions: list[Question] = []

    async def decide(self, question: Question) -> Allow | Refuse:
        self.questions.append(question)
        return await self._answer()  # type: ignore[return-value]


def saying(answer: object) -> Asked:
    async def say() -> object:
        return answer

    return Asked(say)


def raising(error: BaseException) -> Asked:
    async def fail() -> object:
        raise error

    return Asked(fail)


class Counts(SilentObserver):
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def gate_asked(self, hook: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.asked.append((hook, outcome))


def gates(*asked: Gate, deadline_seconds: float = 30.0) -> tuple[Gates, Counts]:
    counts = Counts()
    named = [(f"gate {number}", gate) for number, gate in enumerate(asked)]
    return Gates({Moment.FINISH: named}, deadline_seconds, counts), counts


async def test_every_gate_is_asked_in_order_until_all_allow() -> None:
    """With the same question."""
    first, second = saying(Allow()), saying(Allow())
    asked, counts = gates(first, second)
    await asked.ask(QUESTION)
    assert first.questions == second.questions == [QUESTION]
    assert counts.asked == [("gate 0", "allowed"), ("gate 1", "allowed")]


async def test_the_first_refusal_wins_with_its_own_words() -> None:
    """Later gates are not asked any more."""
    later = saying(Allow())
    asked, counts = gates(saying(Allow()), saying(Refuse("Not a video.", 415)), later)
    with pytest.raises(GateRefused, match=r"^Not a video\.$") as caught:
        await asked.ask(QUESTION)
    assert caught.value.status == 415
    assert not later.questions
    assert counts.asked == [("gate 0", "allowed"), ("gate 1", "refused")]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(raising(ValueError("a fault")), id="an exception"),
        pytest.param(raising(TimeoutError()), id="a time-out of its own"),
        pytest.param(raising(asyncio.CancelledError()), id="it cancels itself"),
        pytest.param(saying(None), id="a forgotten return"),
        pytest.param(saying(True), id="something else"),
    ],
)
async def test_a_gate_that_fails_has_not_refused(
    broken: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once, with the hook's name, and later gates are not asked."""
    later = saying(Allow())
    asked, counts = gates(broken, later)
    with pytest.raises(GateFailed):
        await asked.ask(QUESTION)
    assert not later.questions
    assert counts.asked == [("gate 0", "failed")]
    (record,) = [one for one in caplog.records if one.name.startswith("tusd_py")]
    assert (record.getMessage(), record.levelno) == ("gate_failed", logging.ERROR)
    assert record.__dict__["hook"] == "gate 0" and record.__dict__["upload_id"] == "a"
    assert record.exc_info


async def test_a_gate_without_an_answer_by_its_deadline_is_cancelled_and_has_failed() -> None:
    """The client does not wait for ever."""
    cancelled = asyncio.Event()

    async def hang() -> object:
        try:
            return await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    asked, counts = gates(Asked(hang), deadline_seconds=0.01)
    with pytest.raises(GateFailed):
        await asked.ask(QUESTION)
    assert cancelled.is_set()
    assert counts.asked == [("gate 0", "failed")]


async def test_cancelling_the_asker_goes_through_and_is_no_failure() -> None:
    """The gate is cancelled with it."""
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def hang() -> object:
        started.set()
        try:
            return await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    asked, counts = gates(Asked(hang))
    task = asyncio.create_task(asked.ask(QUESTION))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()
    assert counts.asked == []


async def test_nobody_is_asked_at_other_moments() -> None:
    """And that can be known beforehand."""
    asked, _ = gates(saying(Refuse("no")))
    assert asked.has(Moment.FINISH)
    assert not asked.has(Moment.CREATE)
    await asked.ask(Question(moment=Moment.CREATE, upload={}))
    assert not Gates({Moment.CREATE: []}, 1, Counts()).has(Moment.CREATE)


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("Two\r\nlines\x00 here.", "Two lines here."),
        ("", NO_SENTENCE),
        (" \n", NO_SENTENCE),
        ("x" * 10_000, "x" * MAX_SENTENCE_CHARS),
        ("Zu groß: 5 €", "Zu groß: 5 €"),
    ],
)
async def test_a_gates_words_reach_the_client_as_one_bounded_line(sentence: str, told: str) -> None:
    """They may quote what a client wrote."""
    asked, _ = gates(saying(Refuse(sentence)))
    with pytest.raises(GateRefused) as caught:
        await asked.ask(QUESTION)
    assert str(caught.value) == told
