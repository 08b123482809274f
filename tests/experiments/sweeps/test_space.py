"""The parameters of a sweep file are drawn as W&B defines them."""

import json
import math
import re
from typing import Any

import optuna
import pytest
import torch
from torch.distributions import Distribution, LogNormal, Normal, Uniform

from s2s_lightning.errors import UserError
from s2s_lightning.experiments.sweeps.space import QUANTILES, Parameter
from s2s_lightning.experiments.sweeps.space_file import parameters

U = [0.001, 0.2, 0.5, 0.77, 0.999]


def parameter(**settings: Any) -> Parameter:
    (found,) = parameters({"p": settings})
    return found


def drawn(p: Parameter, count: int = 200) -> list[Any]:
    """Values as a random search draws them."""
    distribution = p.distribution(grid=False)
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(sampler=sampler)
    trials = (study.ask({p.name: distribution}) for _ in range(count))
    return [p.value(trial.params[p.name], distribution) for trial in trials]


@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        ({"distribution": "normal", "mu": 2, "sigma": 3}, Normal(2.0, 3.0)),
        ({"distribution": "normal"}, Normal(0.0, 1.0)),
        ({"distribution": "log_normal", "mu": 0.5, "sigma": 0.25}, LogNormal(0.5, 0.25)),
    ],
)
def test_a_quantile_inverts_the_cumulative_distribution(settings: dict[str, Any], reference: Distribution) -> None:
    p = parameter(**settings)
    values = torch.tensor([QUANTILES[p.kind](u, p) for u in U], dtype=torch.float64)
    torch.testing.assert_close(reference.cdf(values), torch.tensor(U, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("a", "b", "cdf"),
    [
        (1, 3, lambda x: 1 - (1 - x) ** 3),
        (2.5, 1, lambda x: x**2.5),
        (0.5, 0.5, lambda x: 2 / math.pi * math.asin(math.sqrt(x))),
        (2, 2, lambda x: 3 * x**2 - 2 * x**3),
    ],
)
def test_beta_inverts_the_distributions_that_have_a_closed_form(a: float, b: float, cdf: Any) -> None:
    p = parameter(distribution="beta", a=a, b=b)
    assert [cdf(QUANTILES["beta"](u, p)) for u in U] == pytest.approx(U, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "low", "high", "transform"),
    [
        ("uniform", 2.0, 5.0, float),
        ("log_uniform", math.log(2), math.log(5), math.log),
        ("log_uniform_values", 2.0, 5.0, math.log),
        ("inv_log_uniform", -math.log(5), -math.log(2), math.log),
        ("inv_log_uniform_values", 2.0, 5.0, math.log),
    ],
)
def test_what_is_uniform_on_its_scale_stays_between_2_and_5_and_covers_it(
    name: str, low: float, high: float, transform: Any
) -> None:
    values = drawn(parameter(distribution=name, min=low, max=high))
    assert all(2 <= value <= 5 for value in values)
    ends = transform(2), transform(5)
    shares = Uniform(*map(float, ends)).cdf(torch.tensor([transform(value) for value in values]))
    assert shares.sort().values.sub(torch.linspace(0, 1, len(values))).abs().max() < 0.12  # Kolmogorov-Smirnov, p < .01


@pytest.mark.parametrize(("q", "kind"), [(2, int), (0.1, float)])
@pytest.mark.parametrize("name", ["q_uniform", "q_log_uniform_values", "q_normal", "q_log_normal", "q_beta"])
def test_a_quantised_value_is_the_nearest_multiple_of_q(name: str, q: float, kind: type) -> None:
    bounds = {"min": 1, "max": 9} if "uniform" in name else {}
    p = parameter(distribution=name, q=q, **bounds)
    plain = parameter(distribution=name.removeprefix("q_"), **bounds)
    for u in U:
        value = QUANTILES[name](u, p)
        exact = _plain(u, plain)
        assert type(value) is kind
        assert value / q == pytest.approx(round(value / q))
        assert abs(value - exact) <= q / 2 + 1e-9


def _plain(u: float, p: Parameter) -> float:
    if p.kind in QUANTILES:
        return float(QUANTILES[p.kind](u, p))
    low, high = p.settings["min"], p.settings["max"]
    return math.exp(math.log(low) + u * math.log(high / low)) if "log" in p.kind else low + u * (high - low)


def test_probabilities_weigh_the_values() -> None:
    p = parameter(values=["never", None, 3], probabilities=[0, 1, 3])
    assert [QUANTILES[p.kind](u, p) for u in (0.001, 0.24, 0.26, 0.999)] == [None, None, 3, 3]


def test_two_integers_are_integers_and_any_other_pair_is_real() -> None:
    assert set(drawn(parameter(min=1, max=3))) == {1, 2, 3}
    assert parameter(min=1, max=3.0).kind == "uniform"


def test_values_keep_their_types_and_come_once() -> None:
    values = [1, 1.0, True, None, "1", [1, 2], {"a": 1}, 1]
    assert list(map(json.dumps, parameter(values=values).choices or [])) == list(map(json.dumps, values[:-1]))
    assert {json.dumps(value) for value in drawn(parameter(values=values))} == set(map(json.dumps, values))


def test_a_grid_steps_through_numbers_as_wandb_does() -> None:
    assert parameter(min=2, max=4).choices == [2, 3, 4]
    assert parameter(distribution="q_uniform", min=0, max=0.4, q=0.1).choices == [0, 0.1, 0.2, 0.3]


def test_nested_parameters_keep_their_path() -> None:
    found = parameters({"decoding": {"parameters": {"class_path": {"value": "Beam"}}}, "optimizer.lr": {"value": 1}})
    assert [p.path for p in found] == [("decoding", "class_path"), ("optimizer.lr",)]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (3, "parameters.p=3: it must be a mapping, such as {value: 3}"),
        ({"valeus": [1]}, "valeus is nothing that W&B's sweeps know: did you mean values?"),
        ({"min": 1}, "it needs value, values, min and max"),
        ({"min": "1e-4", "max": 1, "distribution": "uniform"}, "parameters.p.min='1e-4': it must be a number; YAML"),
        ({"min": 2.0, "max": 1}, "min=2.0 is above max=1"),
        ({"min": 0, "max": 1, "distribution": "log_uniform_values"}, "min=0: log_uniform_values needs it above 0"),
        ({"distribution": "log_uniform"}, "log_uniform needs min"),
        ({"distribution": "log_uniform", "min": 0, "max": 1000}, "exponents of e in log_uniform; log_uniform_values"),
        ({"distribution": "log_unifrom", "min": 0, "max": 1}, "did you mean log_uniform?"),
        ({"distribution": "normal", "min": 0}, "parameters.p.min: normal takes only mu, sigma"),
        ({"distribution": "normal", "sigma": -1}, "sigma=-1: it must be 0 or more"),
        ({"distribution": "int_uniform", "min": 0.5, "max": 2}, "int_uniform needs integers"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, "q=0: it must be above 0"),
        ({"values": []}, "values=[]: it must be a list of at least one value"),
        ({"values": [1, 2], "probabilities": [1]}, "probabilities=[1]: it must be a number of 0 or more"),
        ({"parameters": {}}, "parameters.p.parameters={}: it must map at least one parameter"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_rule(settings: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=re.escape(complaint)):
        parameters({"p": settings})
