"""What a scenario is, and the figures that it yields."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.servers import Contender, Running
from tests.bench.sizes import Sizes


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table."""

    key: str
    title: str
    unit: str
    digits: int = 0
    ceiling: float = math.inf
    """Measuring ends here: the true value is larger."""
    percentile: int = 50
    """What is shown of all samples: the median, or how long the slowest took."""
    of: str = ""
    """Whose samples these are, where another figure is of the same ones."""

    @property
    def samples_key(self) -> str:
        return self.of or self.key


Samples = Mapping[str, Sequence[float]]
"""Key of a figure to what one round measured. A key that is absent: not to be had there."""


@dataclass(frozen=True, slots=True)
class Live:
    """A scenario at a server that has been running for a while. Its first round is not counted."""

    name: str
    measure: Callable[[Running, Sizes], Samples]
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Fresh:
    """A scenario that starts servers of its own, in an empty directory."""

    name: str
    measure: Callable[[Contender, Path, Sizes], Samples]
    figures: tuple[Figure, ...]
    is_long: bool = False
    """Done in one round."""


Scenario = Live | Fresh
