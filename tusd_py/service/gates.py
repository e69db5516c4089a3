"""Asks the gates, in order, and tells their two failures apart: to refuse is an answer."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Final

from tusd_py.core.errors import GateFailed, GateRefused
from tusd_py.hooks.base import Allow, Gate, Moment, Question, Refuse
from tusd_py.service.observer import Observer

log = logging.getLogger(__name__)

MAX_SENTENCE_CHARS: Final = 500
NO_SENTENCE: Final = "The upload was refused."


class Gates:
    """All gates, by the moment before which they are asked."""

    def __init__(
        self,
        gates: Mapping[Moment, Sequence[tuple[str, Gate]]],
        deadline_seconds: float,
        observer: Observer,
    ) -> None:
        """``gates``: hook name and gate. Each one has ``deadline_seconds`` for its answer."""
        self._gates = {moment: tuple(asked) for moment, asked in gates.items()}
        self._deadline_seconds = deadline_seconds
        self._observer = observer

    def has(self, moment: Moment) -> bool:
        """Somebody is asked then."""
        return bool(self._gates.get(moment))

    async def ask(self, question: Question) -> None:
        """Returns where every gate allows it; the first that does not ends the asking.

        Raises GateRefused with the gate's own words, or GateFailed where a gate gave no answer:
        that is no refusal, and the question is asked again later, of all of them. Cancelling is
        safe: the gate is cancelled too.
        """
        for hook, gate in self._gates.get(question.moment, ()):
            answer = await self._ask_one(hook, gate, question)
            if isinstance(answer, Refuse):
                raise GateRefused(status=answer.status, sentence=_tidy(answer.sentence))

    async def _ask_one(self, hook: str, gate: Gate, question: Question) -> Allow | Refuse:
        started = time.monotonic()
        outcome = "failed"
        try:
            async with asyncio.timeout(self._deadline_seconds):
                answer = await gate.decide(question)
            outcome = _outcome(answer)
            return answer
        except asyncio.CancelledError as exc:
            outcome = ""
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # the asker was cancelled, the gate has not failed
            outcome = "failed"
            raise self._failure(hook, question, exc) from exc
        except Exception as exc:
            raise self._failure(hook, question, exc) from exc
        finally:
            if outcome:
                self._observer.gate_asked(hook, outcome, time.monotonic() - started)

    def _failure(self, hook: str, question: Question, cause: BaseException) -> GateFailed:
        reason = (
            f"no answer within {self._deadline_seconds:g} s"
            if isinstance(cause, TimeoutError)
            else f"{type(cause).__name__}: {cause}"
        )
        log.error(
            "gate_failed",
            extra={
                "hook": hook,
                "moment": question.moment.value,
                "upload_id": question.upload.get("upload_id"),
                "reason": reason,
            },
            exc_info=cause,
        )
        return GateFailed()


def _outcome(answer: object) -> str:
    match answer:
        case Allow():
            return "allowed"
        case Refuse():
            return "refused"
        case _:
            raise TypeError(f"a gate answers Allow() or Refuse(…), not {type(answer).__name__}")


def _tidy(sentence: object) -> str:
    """The gate's own words, as one line of bounded length."""
    text = " ".join(str(sentence).split())[:MAX_SENTENCE_CHARS]
    return "".join(char for char in text if char.isprintable()) or NO_SENTENCE
