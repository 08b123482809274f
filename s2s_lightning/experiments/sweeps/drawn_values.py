"""The parameters of a fresh trial: a function of the sweep, the index and, for bayes, the trials so far."""

from typing import TYPE_CHECKING

from s2s_lightning.experiments.sweeps.sweep_settings import Sweep

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

SEED = 1


def distributions(sweep: Sweep) -> "dict[str, BaseDistribution]":
    """Return the distribution of each parameter that differs between trials."""
    grid = sweep.method == "grid"
    return {parameter.name: parameter.distribution(grid) for parameter in sweep.drawn}


def draw(study: "optuna.Study", trial: "Trial", sweep: Sweep, index: int) -> None:
    """Draw the parameters of the fresh trial of that index, as far as the trial has none."""
    study.sampler = _sampler(sweep, index)
    for name, distribution in distributions(sweep).items():
        _suggest(trial, name, distribution)


def _sampler(sweep: Sweep, index: int) -> "optuna.samplers.BaseSampler":
    """Return the sampler of one trial, seeded by its index, so that no process repeats another's draws."""
    from optuna.samplers import PartialFixedSampler, RandomSampler, TPESampler

    if sweep.method == "grid":
        return PartialFixedSampler(sweep.point(index), RandomSampler())
    if sweep.method == "random":
        return RandomSampler(seed=SEED + index)
    return TPESampler(seed=SEED + index, constant_liar=True)  # a running trial's region is left to it


def _suggest(trial: "Trial", name: str, distribution: "BaseDistribution") -> None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(name, distribution.choices)
    elif isinstance(distribution, IntDistribution):
        trial.suggest_int(name, distribution.low, distribution.high)
    else:
        assert isinstance(distribution, FloatDistribution)
        trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
