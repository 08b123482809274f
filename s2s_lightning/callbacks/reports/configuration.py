"""The configuration of a run, beside its results and inside its checkpoints."""

from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from s2s_lightning import __version__
from s2s_lightning.checkpoints.keys import CHECKPOINT_KEY, WAYS_TO_START, Config
from s2s_lightning.files import write_whole
from s2s_lightning.runs.trainer_queries import run_folder


class Configuration(Callback):
    """Writes ``config.yaml``, which repeats the run, and puts the configuration into each checkpoint.

    A run that goes on in its folder with other settings keeps what it had so far as ``config_until_step_N.yaml``.

    Args:
        config: of the run.
        step: from which it goes on.
    """

    def __init__(self, config: Config, step: int = 0) -> None:
        self.config = config
        self.step = step

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        text = yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)
        text = f"# s2s_lightning {__version__}\n{text}"
        path = run_folder(trainer) / "config.yaml"
        former = path.with_name(f"config_until_step_{self.step}.yaml")
        if path.is_file() and path.read_text(encoding="utf-8") != text and not former.exists():
            path.replace(former)
        write_whole(path, text)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[CHECKPOINT_KEY] = {k: v for k, v in self.config.items() if k not in WAYS_TO_START}
