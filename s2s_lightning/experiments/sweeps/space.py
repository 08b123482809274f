"""The parameters of a W&B sweep file: what may be said of one, and what is drawn from it.

The definitions are those of W&B's open engine (github.com/wandb/sweeps, ``config/schema.json``, ``params.py`` and
``grid_search.py``). Optuna draws uniformly, log-uniformly, integers and categories itself; any other distribution is a
quantile u drawn from (0, 1) and put through the inverse of its cumulative distribution.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Settings = Mapping[str, Any]

TAIL = 1e-6
"""Quantiles nearer to 0 or 1 than this are not drawn: the tails of a normal distribution end at 4.75 sigma."""


class Kind(NamedTuple):
    """A distribution of W&B's.

    Attributes:
        needs: keys that must be there.
        defaults: keys that may be there.
        exponents: whether ``min`` and ``max`` are exponents of e.
    """

    needs: tuple[str, ...] = ("min", "max")
    defaults: Settings = MappingProxyType({})
    exponents: bool = False


Q = {"q": 1}
NORMAL = {"mu": 0.0, "sigma": 1.0}
BETA = {"a": 1.0, "b": 1.0}
KINDS = {
    "constant": Kind(("value",)),
    "categorical": Kind(("values",), {"probabilities": None}),
    "categorical_w_probabilities": Kind(("values", "probabilities")),
    "int_uniform": Kind(),
    "uniform": Kind(),
    "q_uniform": Kind(defaults=Q),
    "log_uniform": Kind(exponents=True),
    "log_uniform_values": Kind(),
    "q_log_uniform": Kind(defaults=Q, exponents=True),
    "q_log_uniform_values": Kind(defaults=Q),
    "inv_log_uniform": Kind(exponents=True),
    "inv_log_uniform_values": Kind(),
    "normal": Kind((), NORMAL),
    "q_normal": Kind((), {**NORMAL, **Q}),
    "log_normal": Kind((), NORMAL),
    "q_log_normal": Kind((), {**NORMAL, **Q}),
    "beta": Kind((), BETA),
    "q_beta": Kind((), {**BETA, **Q}),
}
GRID_KINDS = ("constant", "categorical", "int_uniform", "q_uniform")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a sweep.

    Attributes:
        path: its keys, one but for nested parameters.
        kind: its distribution, by W&B's name.
        settings: what the distribution takes, defaults included.
    """

    path: tuple[str, ...]
    kind: str
    settings: Settings

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def is_constant(self) -> bool:
        return self.kind == "constant"

    @property
    def is_log(self) -> bool:
        """True if a logarithmic axis shows it best."""
        return "log" in self.kind

    @cached_property
    def choices(self) -> list[Any] | None:
        """The values of a grid, each once; None for what a grid cannot take.

        As at W&B, those of ``q_uniform`` stop before ``max``.
        """
        s = self.settings
        if self.kind == "categorical" and not s["probabilities"]:
            return list({json.dumps(value): value for value in s["values"]}.values())
        if self.kind == "int_uniform":
            return list(range(s["min"], s["max"] + 1))
        if self.kind == "q_uniform":
            count = math.ceil((s["max"] - s["min"]) / s["q"] - 1e-9)
            return [_clean(s["min"] + s["q"] * i) for i in range(count)]
        return None

    def distribution(self, grid: bool) -> "BaseDistribution":
        """Return Optuna's distribution; categories are JSON texts of the values, which tell 1, 1.0 and true apart."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if (grid or self.kind == "categorical") and self.choices is not None:
            return CategoricalDistribution([json.dumps(choice) for choice in self.choices])
        if self.kind == "int_uniform":
            return IntDistribution(self.settings["min"], self.settings["max"])
        if self.kind == "uniform":
            return FloatDistribution(self.settings["min"], self.settings["max"])
        if self.kind.removeprefix("inv_").startswith("log_uniform"):
            return FloatDistribution(*self._bounds, log=True)
        return FloatDistribution(TAIL, 1 - TAIL)

    def value(self, drawn: Any, distribution: "BaseDistribution") -> Any:
        """Return the value of the trial for the value that Optuna has drawn."""
        from optuna.distributions import CategoricalDistribution

        if isinstance(distribution, CategoricalDistribution):
            return json.loads(drawn)
        return QUANTILES[self.kind](drawn, self) if self.kind in QUANTILES else drawn

    @property
    def _bounds(self) -> tuple[float, float]:
        """``min`` and ``max`` as values; those of ``inv_log_uniform`` are exponents of 1/x."""
        low, high = self.settings["min"], self.settings["max"]
        if KINDS[self.kind].exponents:
            low, high = (-high, -low) if self.kind.startswith("inv_") else (low, high)
            return math.exp(low), math.exp(high)
        return low, high

    def quantised(self, value: float) -> float | int:
        """The nearest multiple of ``q``, an integer where ``q`` is one."""
        q = self.settings["q"]
        return _clean(round(value / q) * q)


def _uniform(u: float, parameter: Parameter) -> float:
    low, high = parameter._bounds
    return low + (high - low) * u


def _log_uniform(u: float, parameter: Parameter) -> float:
    low, high = (math.log(bound) for bound in parameter._bounds)
    return math.exp(low + (high - low) * u)


def _normal(u: float, parameter: Parameter) -> float:
    mu, sigma = parameter.settings["mu"], parameter.settings["sigma"]
    return NormalDist(mu, sigma).inv_cdf(u) if sigma else float(mu)


def _beta(u: float, parameter: Parameter) -> float:
    """The cumulative distribution of logit(x), whose density x^a (1-x)^b is smooth and falls off exponentially."""
    import numpy as np

    a, b = parameter.settings["a"], parameter.settings["b"]
    logit = np.linspace(-40 / a, 40 / b, 20001)
    density = np.exp(-a * np.logaddexp(0, -logit) - b * np.logaddexp(0, logit))
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(1 / (1 + np.exp(-np.interp(u, cumulative / cumulative[-1], logit))))


def _weighted(u: float, parameter: Parameter) -> Any:
    probabilities, total = parameter.settings["probabilities"], 0.0
    for value, probability in zip(parameter.settings["values"], probabilities, strict=True):
        total += probability / sum(probabilities)
        if u < total:
            return value
    return value


def _exp(quantile: Callable[[float, Parameter], float]) -> Callable[[float, Parameter], float]:
    return lambda u, parameter: math.exp(quantile(u, parameter))


def _q(quantile: Callable[[float, Parameter], float]) -> Callable[[float, Parameter], float]:
    return lambda u, parameter: parameter.quantised(quantile(u, parameter))


QUANTILES: dict[str, Callable[[float, Parameter], Any]] = {
    "categorical": _weighted,
    "categorical_w_probabilities": _weighted,
    "q_uniform": _q(_uniform),
    "q_log_uniform": _q(_log_uniform),
    "q_log_uniform_values": _q(_log_uniform),
    "normal": _normal,
    "q_normal": _q(_normal),
    "log_normal": _exp(_normal),
    "q_log_normal": _q(_exp(_normal)),
    "beta": _beta,
    "q_beta": _q(_beta),
}
"""Inverse cumulative distributions, of what Optuna does not draw itself."""


def _clean(value: float) -> float | int:
    """Remove the noise of floating-point steps: 0.3 for 0.30000000000000004."""
    return value if isinstance(value, int) else float(f"{value:.12g}")
