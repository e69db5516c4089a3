"""What every sink promises, whatever it does with an event."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

import pytest

from tests.support.receiver import FAILS, HANGS, Receiver
from tests.unit.hooks.events import SECRET, SOURCE, an_event
from tusd_py import registry
from tusd_py.core.events import Event
from tusd_py.hooks.base import EventSink
from tusd_py.hooks.kinds import Hook, HookSettings
from tusd_py.hooks.python import PythonHook, PythonHookSettings
from tusd_py.hooks.webhook import WebhookSettings, WebhookSink


class SinkRig(ABC):
    """A hook with a receiver that takes, fails or hangs as told."""

    hook: Hook

    @property
    def sink(self) -> EventSink:
        assert self.hook.sink is not None
        return self.hook.sink

    @abstractmethod
    async def open(self) -> None: ...

    async def close(self) -> None:
        await self.hook.close()

    @abstractmethod
    def fail_once(self) -> None: ...

    @abstractmethod
    def hang_once(self) -> None: ...

    @abstractmethod
    async def started(self) -> None:
        """Returns once a delivery has reached the receiver."""

    @abstractmethod
    def taken(self) -> list[str]:
        """Ids of the events that were taken."""


class Plugin(EventSink):
    """Somebody's sink, by the contract."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.next = "take"
        self.started = asyncio.Event()

    async def deliver(self, event: Event) -> None:
        todo, self.next = self.next, "take"
        self.started.set()
        if todo == "fail":
            raise RuntimeError("the plug-in's own fault")
        if todo == "hang":
            await asyncio.Event().wait()
        self.taken.append(event.id)


class PythonRig(SinkRig):
    async def open(self) -> None:
        settings = PythonHookSettings(name="plugin", target=f"{__name__}:Plugin")
        self.hook = PythonHook(settings, source=SOURCE)
        assert isinstance(self.hook.sink, Plugin)
        self._plugin = self.hook.sink

    def fail_once(self) -> None:
        self._plugin.next = "fail"

    def hang_once(self) -> None:
        self._plugin.next = "hang"

    async def started(self) -> None:
        await self._plugin.started.wait()

    def taken(self) -> list[str]:
        return self._plugin.taken


class WebhookRig(SinkRig):
    async def open(self) -> None:
        self._receiver = Receiver(SECRET)
        await self._receiver.come_back()
        values = {"name": "web", "url": self._receiver.url, "secret": SECRET}
        self.hook = WebhookSink(WebhookSettings.model_validate(values), source=SOURCE)

    async def close(self) -> None:
        await super().close()
        await self._receiver.go_away()

    def fail_once(self) -> None:
        self._receiver.answer(FAILS)

    def hang_once(self) -> None:
        self._receiver.answer(HANGS)

    async def started(self) -> None:
        await self._receiver.next()

    def taken(self) -> list[str]:
        return [delivery.event_id for delivery in self._receiver.taken]


RIGS: dict[str, type[SinkRig]] = {"python": PythonRig, "webhook": WebhookRig}


def test_every_registered_kind_of_hook_is_held_to_this_contract() -> None:
    """A new kind gets its rig here, and its settings begin with what all hooks have."""
    assert set(RIGS) == set(registry.HOOKS)
    for target in registry.HOOKS.values():
        kind = registry.load(target)
        assert issubclass(kind, Hook)
        assert issubclass(registry.settings_type(kind), HookSettings)


@pytest.fixture(params=sorted(RIGS))
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[SinkRig]:
    made = RIGS[request.param]()
    await made.open()
    yield made
    await made.close()


class TestEventSink:
    async def test_returning_means_taken(self, rig: SinkRig) -> None:
        """The receiver has it."""
        await rig.sink.deliver(an_event())
        assert rig.taken() == [an_event().id]

    async def test_not_taken_means_an_exception_and_the_next_try_may_succeed(
        self, rig: SinkRig
    ) -> None:
        """A failure leaves nothing behind."""
        rig.fail_once()
        with pytest.raises(Exception):  # noqa: B017 - "Any exception means: not taken"
            await rig.sink.deliver(an_event())
        assert rig.taken() == []
        await rig.sink.deliver(an_event())
        assert rig.taken() == [an_event().id]

    async def test_the_same_event_can_be_delivered_again(self, rig: SinkRig) -> None:
        """At least once: its id is the same."""
        for _ in range(2):
            await rig.sink.deliver(an_event())
        assert rig.taken() == [an_event().id] * 2

    async def test_deliveries_of_different_uploads_run_at_once(self, rig: SinkRig) -> None:
        """One that hangs holds up no other; cancelled, it has not been taken."""
        rig.hang_once()
        hanging = asyncio.create_task(rig.sink.deliver(an_event("f" * 32)))
        await rig.started()
        events = [an_event(f"{number:032x}") for number in range(5)]
        await asyncio.gather(*(rig.sink.deliver(event) for event in events))
        assert sorted(rig.taken()) == sorted(event.id for event in events)
        assert not hanging.done()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging

    async def test_a_cancelled_delivery_ends_and_the_sink_goes_on(self, rig: SinkRig) -> None:
        """The deadline cancels; the event comes again."""
        rig.hang_once()
        hanging = asyncio.create_task(rig.sink.deliver(an_event()))
        await rig.started()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        await rig.sink.deliver(an_event())
        assert rig.taken() == [an_event().id]

    async def test_closing_twice_is_harmless(self, rig: SinkRig) -> None:
        """Before any delivery and after one."""
        await rig.sink.deliver(an_event())
        await rig.hook.close()
        await rig.hook.close()
