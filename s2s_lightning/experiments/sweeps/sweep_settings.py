"""Settings of a sweep: a method, a metric, parameters, a command."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from s2s_lightning.experiments.sweeps.space import Parameter


class Metric(NamedTuple):
    """Metric by which trials are compared; a sweep ends when ``target`` is reached."""

    name: str
    goal: Literal["minimize", "maximize"] = "minimize"
    target: float | None = None

    def reached_by(self, value: float) -> bool:
        if self.target is None:
            return False
        return value <= self.target if self.goal == "minimize" else value >= self.target

    def best(self, values: Iterable[float]) -> float | None:
        """Return the best of the finite values."""
        finite = [value for value in values if math.isfinite(value)]
        return (min if self.goal == "minimize" else max)(finite, default=None)


class Stopping(NamedTuple):
    """Asynchronous successive halving: after ``first`` validations, and ``eta`` times as many, and so on, a trial goes
    on only if it is among the best 1/eta of those that came as far.
    """

    first: int
    eta: int


@dataclass(frozen=True)
class Sweep:
    """Content of a sweep file.

    Attributes:
        name: of the file.
        said: the file itself, without what only W&B reads and without ``run_cap``.
        run_cap: trials in all, if the file limits them.
    """

    name: str
    said: Mapping[str, Any]
    method: str
    metric: Metric
    parameters: tuple[Parameter, ...]
    command: tuple[str, ...]
    program: str | None
    stopping: Stopping | None
    run_cap: int | None

    @property
    def drawn(self) -> list[Parameter]:
        """Return the parameters that differ between trials."""
        return [parameter for parameter in self.parameters if not parameter.is_constant]

    @property
    def grid_size(self) -> int | None:
        """The number of combinations; None for other methods."""
        return math.prod(len(p.choices or ()) for p in self.drawn) if self.method == "grid" else None

    def point(self, index: int) -> dict[str, str]:
        """The combination of that index in the grid, as Optuna's choices; the last parameter changes fastest."""
        chosen = {}
        for parameter in reversed(self.drawn):
            assert parameter.choices
            index, choice = divmod(index, len(parameter.choices))
            chosen[parameter.name] = json.dumps(parameter.choices[choice])
        return chosen


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Yield the differences of two contents, by name."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            here = f"{where}.{key}" if where else key
            if key not in old:
                yield f"{here} is new"
            elif key not in new:
                yield f"{here} is gone"
            else:
                yield from differences(old[key], new[key], here)
    elif old != new or type(old) is not type(new):
        yield f"{where} was {json.dumps(old)} and is {json.dumps(new)}"
