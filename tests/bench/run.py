"""One run: every scenario at every server, the servers in turn, round after round."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Final, TypeVar

from tests.bench import creations, footprint, hand_over, requests, state_memory, throughput
from tests.bench.figures import Figure, Fresh, Live, Samples, Scenario
from tests.bench.servers import Contender, Running, start
from tests.bench.sizes import Sizes
from tests.bench.wire import BenchError

SCENARIOS: Final[tuple[Scenario, ...]] = (
    *throughput.SCENARIOS,
    *requests.SCENARIOS,
    *footprint.SCENARIOS,
    *hand_over.SCENARIOS,
    *creations.SCENARIOS,
    *state_memory.SCENARIOS,
)
Progress = Callable[[str], None]
Thing = TypeVar("Thing")


@dataclass(slots=True)
class Results:
    """What was measured, by server and figure, and what could not be."""

    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, server: str, samples: Samples) -> None:
        for key, values in samples.items():
            self.samples.setdefault(server, {}).setdefault(key, []).extend(values)

    def value(self, server: str, figure: Figure) -> float | None:
        """What the table shows."""
        values = self.samples.get(server, {}).get(figure.samples_key)
        if not values:
            return None
        if figure.percentile == 50 or len(values) == 1:
            return median(values)
        return quantiles(values, n=100, method="inclusive")[figure.percentile - 1]


@dataclass(slots=True)
class Run:
    """The state of one run."""

    contenders: Sequence[Contender]
    sizes: Sizes
    directory: Path
    deadline: float
    """By the monotonic clock: no round starts after it."""
    progress: Progress
    results: Results = field(default_factory=Results)
    failed: set[tuple[str, str]] = field(default_factory=set)

    def measure(self, only: str = "") -> Results:
        """Run the scenarios whose name contains ``only``."""
        chosen = [one for one in SCENARIOS if only in one.name]
        servers: dict[str, Running] = {}
        try:
            for contender in self.contenders:
                self._start(contender, servers)
            for scenario in chosen:
                if isinstance(scenario, Live):
                    self._measure_live(scenario, list(servers.values()))
        finally:
            for server in servers.values():
                server.stop()
        for scenario in chosen:
            if isinstance(scenario, Fresh):
                self._measure_fresh(scenario)
        return self.results

    def _start(self, contender: Contender, servers: dict[str, Running]) -> None:
        try:
            servers[contender.name] = start(contender, self._own_directory(contender))
        except BenchError as error:
            self.results.notes.append(f"{contender.name} is not measured: {error}")

    def _measure_live(self, scenario: Live, servers: Sequence[Running]) -> None:
        for number in range(self.sizes.rounds + 1):
            for server in _in_turn(servers, number):
                samples = self._attempt(
                    scenario, server.contender, partial(scenario.measure, server, self.sizes)
                )
                if number > 0:
                    self.results.add(server.contender.name, samples)

    def _measure_fresh(self, scenario: Fresh) -> None:
        for number in range(1 if scenario.is_long else self.sizes.fresh_rounds):
            for contender in _in_turn(self.contenders, number):
                directory = self._own_directory(contender)
                samples = self._attempt(
                    scenario,
                    contender,
                    partial(scenario.measure, contender, directory, self.sizes),
                )
                self.results.add(contender.name, samples)

    def _attempt(
        self, scenario: Scenario, contender: Contender, measure: Callable[[], Samples]
    ) -> Samples:
        """Measure, unless it failed before or the time is over; a failure becomes a note."""
        what = (scenario.name, contender.name)
        if what in self.failed:
            return {}
        if time.monotonic() > self.deadline:
            self._note(what, "no time was left")
            return {}
        self.progress(f"{scenario.name}: {contender.name}")
        try:
            return measure()
        except (BenchError, OSError) as error:
            self._note(what, str(error))
            return {}

    def _note(self, what: tuple[str, str], why: str) -> None:
        self.failed.add(what)
        scenario, contender = what
        self.results.notes.append(f"{contender}, {scenario}: {why}")

    def _own_directory(self, contender: Contender) -> Path:
        """A new one each time, named by a number: no server's name has to be a file's name."""
        return self.directory / str(time.monotonic_ns()) / str(self.contenders.index(contender))


def _in_turn(things: Sequence[Thing], number: int) -> Iterator[Thing]:
    """Each round another one is first."""
    for index in range(len(things)):
        yield things[(index + number) % len(things)]


def figures() -> Iterator[Figure]:
    for scenario in SCENARIOS:
        yield from scenario.figures
