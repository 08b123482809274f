"""Weights that stay what they are."""

from fnmatch import fnmatchcase

from lightning.pytorch import Callback, LightningModule, Trainer

from s2s_lightning.errors import UserError, closest, did_you_mean
from s2s_lightning.runs.trainer_queries import network


class Freeze(Callback):
    """Excludes parameters from training, by the names of their tensors: ``encoder.*``, ``*embedding*``, ...

    The summary before training says how many are frozen. Dropout goes on within frozen parts.

    Args:
        patterns: names in the network, one or several, where * stands for anything, ? for one character and [..] for a
            choice.

    Raises:
        UserError: a pattern that matches no parameter, or patterns that leave none to train.
    """

    def __init__(self, patterns: str | list[str]) -> None:
        self.patterns = [patterns] if isinstance(patterns, str) else patterns

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        parameters = dict(network(pl_module).named_parameters())
        for pattern in self.patterns:
            matching = [parameter for name, parameter in parameters.items() if fnmatchcase(name, pattern)]
            if not matching:
                hint = did_you_mean(closest(pattern, parameters)) or f"; names are like {next(iter(parameters))}"
                raise UserError(f"patterns={pattern}: no parameter of the network has such a name{hint}")
            for parameter in matching:
                parameter.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in parameters.values()):
            raise UserError(f"patterns={self.patterns} freeze the whole network: leave something to train")
