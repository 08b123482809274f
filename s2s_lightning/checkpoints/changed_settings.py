"""Settings that a resumed run changes: refused where the run would be another one, else reported and applied."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from lightning.pytorch.utilities import rank_zero_info

from s2s_lightning.checkpoints.checkpoint import SETTLED, leaves, refuse
from s2s_lightning.checkpoints.keys import WAYS_TO_START, Config
from s2s_lightning.errors import UserError

FIXED = {
    **SETTLED,
    "data.tokenizers_from": "tokenizers",
    "data.copy": "pairs",
    "data.max_length": "pairs",
    "data.max_tokens": "batches",
    "data.batch_size": "batches",
    "data.normaliser": "batches",
    "data.bucketing": "batches",
    "data.seed": "order of the pairs",
    "trainer.accumulate_grad_batches": "batches",
    "trainer.limit_train_batches": "epochs",
    "trainer.overfit_batches": "epochs",
    "trainer.reload_dataloaders_every_n_epochs": "epochs",
    "seed_everything": "random numbers",
    "optimizer.class_path": "optimizer",
}
"""As ``SETTLED``, for a run that goes on."""

ELSEWHERE = ("data.corpus", "trainer.default_root_dir", "trainer.logger", "data.cache_dir", *WAYS_TO_START)
"""What is not compared: the pairs themselves are, and where files are does not matter."""


class Change(NamedTuple):
    """A setting that the checkpoint was trained with, and what is asked for."""

    name: str
    was: Any
    asked: Any

    def __str__(self) -> str:
        return f"{self.name}: {_short(self.was)} -> {_short(self.asked)}"


def changes(config: Config, stored: Config) -> list[Change]:
    """Return the settings that change; of a part that is of another class, its class alone.

    Raises:
        UserError: what cannot change does; names each setting.
    """
    refuse(config, stored, FIXED)
    known = dict(leaves(stored))
    found = [
        Change(name, known[name], value)
        for name, value in leaves(config)
        if name in known and known[name] != value and not name.startswith(ELSEWHERE)
    ]
    classes = {change.name.removesuffix("class_path") for change in found if change.name.endswith("class_path")}
    kept = [c for c in found if c.name.endswith("class_path") or not any(c.name.startswith(each) for each in classes)]
    for change in kept:
        if change.name == "schedule.class_path" and "Plateau" in f"{change.was}{change.asked}":
            raise UserError(f"{change}: what follows a metric and what does not have no state in common; begin a new "
                            "run with fit --init_from")  # fmt: skip
    return kept


def say(found: list[Change]) -> None:
    """A line for each."""
    for change in found:
        rank_zero_info(f"changed: {change}")


def touched(found: list[Change], *groups: str) -> bool:
    """True if anything of these groups of options has changed."""
    return any(change.name.startswith(groups) for change in found)


def refuse_other_data(now: Mapping[str, str], stored: Mapping[str, str], config: Config, before: Config) -> None:
    """Raises UserError if the content of a split is not what it was; names what differs in its settings."""
    others = [split for split in stored if now.get(split) != stored[split]]
    if not others:
        return
    known = dict(leaves(before.get("data", {}).get("corpus") or {}))
    asked = dict(leaves(config["data"]["corpus"] or {}))
    listed = [str(Change(f"data.corpus.{k}", known.get(k), v)) for k, v in asked.items() if known.get(k) != v]
    why = "; ".join(listed) or "its files have changed"
    raise UserError(
        f"other content in the split {' and '.join(others)} than the run was trained with ({why}): a run goes on with "
        "its own data; begin a new one with fit --init_from"
    )


def _short(value: Any) -> str:
    """A list of classes by their names."""
    if isinstance(value, list):
        return "[" + ", ".join(_short(each) for each in value) + "]"
    if isinstance(value, dict) and "class_path" in value:
        return str(value["class_path"]).rsplit(".", 1)[-1]
    return "default" if value is None else str(value)
