"""Runs callables that may block, each in a thread that nobody has to wait for."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class DaemonThreads:
    """At most ``limit`` calls at once. A call that never returns keeps its place, and no more.

    Not an executor: the interpreter waits for an executor's threads when it ends, and a hook that
    hangs must not keep the server from stopping.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._free = asyncio.Semaphore(limit)

    async def run(self, call: Callable[[], T]) -> T:
        """What ``call`` returns or raises. Cancelling ends the wait, not the thread."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def settle(result: T | None, error: BaseException | None) -> None:
            self._free.release()
            if done.cancelled():
                return
            if error is None:
                done.set_result(result)  # type: ignore[arg-type]
            else:
                done.set_exception(error)

        def work() -> None:
            result, error = None, None
            try:
                result = context.run(call)
            except Exception as exc:
                error = _as_raisable(exc)
            except (
                BaseException
            ) as exc:  # sys.exit() in a hook ends the hook's call, not the server
                error = RuntimeError(f"the hook raised {type(exc).__name__}")
                error.__cause__ = exc
            try:
                loop.call_soon_threadsafe(settle, result, error)
            except RuntimeError:
                return  # the loop was closed meanwhile: nobody waits any more

        threading.Thread(target=work, name=self._name, daemon=True).start()
        return await done


def _as_raisable(error: Exception) -> Exception:
    # A future does not take StopIteration: it would end the generator that waits for it.
    if isinstance(error, StopIteration):
        wrapped = RuntimeError("the hook raised StopIteration")
        wrapped.__cause__ = error
        return wrapped
    return error
