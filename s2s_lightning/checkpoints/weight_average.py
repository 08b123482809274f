"""The mean of the weights of several checkpoints."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from s2s_lightning.checkpoints.checkpoint import data_state, leaves, read, stored_config, tied
from s2s_lightning.checkpoints.keys import AVERAGE_OF, CHECKPOINT_KEY
from s2s_lightning.data.progress_bar import progress
from s2s_lightning.errors import UserError

Checkpoint = dict[str, Any]
State = Mapping[str, Tensor]

OF_THE_RUN = (
    "class_path",
    "hparams_name",
    "hyper_parameters",
    CHECKPOINT_KEY,
    "pytorch-lightning_version",
    "epoch",
    "global_step",
)
"""What an average has of the last of its checkpoints, beside the tokenizers: not where training stands."""


def average(paths: Sequence[str | Path]) -> Checkpoint:
    """A checkpoint whose weights are the mean of those of others, in float64, then in the type that they had.

    What ``load`` uses is averaged: where a run has kept an exponential moving average of its weights, this average.
    Files are read one after the other, in the order of their names, so that the order of ``paths`` does not matter;
    memory holds the mean. The mean of equal weights is bit-equal to them.

    Args:
        paths: the checkpoints, at least one; one that is given twice counts twice.

    Raises:
        UserError: a file that is no checkpoint, or two that differ in more than the values of their weights.
    """
    first, *others = sorted(str(Path(path).resolve()) for path in paths)
    base = last = read(first)
    weights: State = base["state_dict"]
    owners = tied(weights)
    mean = {name: weights[name].double() for name in owners.values() if weights[name].is_floating_point()}
    records = [record(first, base)]
    for count, path in enumerate(progress(others, "average", "checkpoints"), 2):
        other = read(path)
        refuse_differences(first, base, path, other)
        _check_ties(other["state_dict"], owners, path)
        for name, so_far in mean.items():
            mean[name] = _towards(so_far, other["state_dict"][name].double(), count)
        records.append(record(path, other))
        last = max(last, other, key=lambda checkpoint: checkpoint["global_step"])
    rounded = {name: tensor.to(weights[name].dtype) for name, tensor in mean.items()}
    state = {name: rounded.get(owner, weights[owner]) for name, owner in owners.items()}
    kept = {key: last[key] for key in OF_THE_RUN if key in last}
    data = {key: part for key, part in last.items() if part is data_state(last)}
    return {**kept, **data, "state_dict": state, AVERAGE_OF: records}


def record(path: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the path, step and epoch that an average keeps of each of its checkpoints."""
    return {"path": path, "global_step": checkpoint["global_step"], "epoch": checkpoint["epoch"]}


def _towards(mean: Tensor, x: Tensor, count: int) -> Tensor:
    """The mean of ``count`` from that of one less; where both are equal it stays, also at infinity."""
    return torch.where(x == mean, mean, mean + (x - mean) / count)


def _check_ties(state: State, owners: Mapping[str, str], path: str) -> None:
    for name, owner in owners.items():
        if name != owner and not torch.equal(state[name], state[owner]):
            raise UserError(f"{path}: {name} is not {owner}, as in the others; average checkpoints of one model")


def refuse_differences(first: str, ours: Checkpoint, path: str, theirs: Checkpoint) -> None:
    """Raises UserError for the first thing in which two checkpoints are not of one model."""
    for difference in differences(ours, theirs):
        raise UserError(f"{path} cannot be averaged with {first}: {difference}")


def differences(ours: Checkpoint, theirs: Checkpoint) -> Iterator[str]:
    """Yield the differences of two checkpoints: class, text layer, settings of the model, and tensors in all but their
    values.
    """
    yield from _unequal({"class_path": ours["class_path"]}, {"class_path": theirs["class_path"]})
    yield from _other_text(data_state(ours), data_state(theirs))
    yield from _unequal(_settings(ours), _settings(theirs))
    yield from _unequal(_kinds(ours["state_dict"]), _kinds(theirs["state_dict"]))
    for name, tensor in ours["state_dict"].items():
        if not tensor.is_floating_point() and not torch.equal(tensor, theirs["state_dict"][name]):
            yield f"{name} differs, and {tensor.dtype} has no mean"


def _other_text(ours: Checkpoint, theirs: Checkpoint) -> Iterator[str]:
    here, there = (dict(data.get("tokenizers", {})) for data in (ours, theirs))
    for side, name in (("src", "source"), ("tgt", "target")):
        if here.pop(side, None) != there.pop(side, None):
            yield f"it has another {name} vocabulary"
    yield from _unequal(here, there, "data.")
    yield from _unequal({"copy": ours.get("copy", False)}, {"copy": theirs.get("copy", False)}, "data.")


def _unequal(ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name in {**ours, **theirs}:
        here, there = ours.get(name, "missing"), theirs.get(name, "missing")
        if here != there:
            yield f"{prefix}{name} is {there}, not {here}"


def _settings(checkpoint: Checkpoint) -> dict[str, Any]:
    return dict(leaves(stored_config(checkpoint)["model"]["init_args"], "model"))


def _kinds(state: State) -> dict[str, str]:
    return {name: f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}" for name, x in state.items()}
