"""Record of a run for its loggers, beside its metrics."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_info

from s2s_lightning.callbacks.reports.evaluation import Evaluation
from s2s_lightning.checkpoints.keys import Config
from s2s_lightning.errors import without_secrets
from s2s_lightning.files import write_whole
from s2s_lightning.runs.trainer_queries import keeper, run_folder
from s2s_lightning.tracking import own_sources
from s2s_lightning.tracking.facts import Facts, command, facts, now
from s2s_lightning.tracking.identity import CHECKPOINT_KEY, FOLDER_KEY
from s2s_lightning.tracking.tests_file import append_test, run_of
from s2s_lightning.tracking.wandb_logger import Wandb


class Record(Callback):
    """Gives the configuration and the facts of a run to its loggers, and the facts to ``run.json``.

    The signatures of the metrics follow after the first validation. Checkpoints follow at the end, where ``Wandb`` is
    asked for them. Each checkpoint names the W&B run that a resumed training goes on with. ``run.json`` keeps the facts
    of the earlier starts of a run that goes on in its folder, each with the step that it began at. ``end`` says when
    and how a start ended, and is missing where the process was killed. ``tests.jsonl``, in the folder
    of the run that a checkpoint is of, gets the scores of its tests.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._facts: Facts = {}
        self._earlier: list[Facts] = []
        self._step = self._loaded = 0
        self._began = time.monotonic()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._began = time.monotonic()
            self._facts = facts(trainer, pl_module)
            self._earlier = earlier(run_folder(trainer) / "run.json")
            tell(trainer, {**self.config, "run": self._facts})

    def _keep_sources(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the user's own files into the run's folder, note their digests, and say which have changed."""
        folder = run_folder(trainer)
        changed = own_sources.changed(folder)
        parts = [pl_module, *vars(pl_module).values(), trainer.datamodule, *trainer.callbacks]  # type: ignore[attr-defined]
        digests, large = own_sources.keep(folder, own_sources.modules_of(parts), trainer.global_step)
        self._facts["source"] = digests
        if changed:
            former = f"{own_sources.FOLDER}_until_step_{trainer.global_step}"
            rank_zero_info(f"own code changed since the run began: {', '.join(changed)}; as it was: {folder / former}")
        if large:
            rank_zero_info(f"own code that is too large to be copied into the run's folder: {', '.join(large)}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._step = trainer.global_step
            self._keep_sources(trainer, pl_module)
            self._write(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or not self._facts or "signatures" in self._facts:
            return
        if signatures := signatures_of(trainer):
            self._facts["signatures"] = signatures
            self._write(trainer)
            tell(trainer, {"signatures": signatures})

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[FOLDER_KEY] = str(run_folder(trainer).resolve())
        for logger in wandb_loggers(trainer):
            if logger.identity is not None:
                checkpoint[CHECKPOINT_KEY] = logger.identity._asdict()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._loaded = int(checkpoint["global_step"])

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        say_changed(trainer.ckpt_path)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            say_changed(trainer.ckpt_path)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = run_of(trainer.ckpt_path)
        if not trainer.is_global_zero or folder is None:
            return
        logged = trainer.callback_metrics
        line = {
            "time": now(),
            "checkpoint": Path(str(trainer.ckpt_path)).name,
            "step": self._loaded,
            "command": command(),
            "scores": {name: value.item() for name, value in logged.items() if name.startswith("test/")},
            "signatures": signatures_of(trainer),
        }
        append_test(folder, line)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        asked = isinstance(exception, KeyboardInterrupt)
        words = without_secrets(" ".join(f"{type(exception).__name__}: {exception}".split()))
        self._end(trainer, "interrupted" if asked else f"failed: {words}")

    def _end(self, trainer: Trainer, how: str) -> None:
        """Add when, how and at which step this start of the run ended."""
        if trainer.is_global_zero and self._facts and trainer.state.fn == "fit":
            seconds = round(time.monotonic() - self._began, 1)
            self._facts["end"] = {"time": now(), "seconds": seconds, "how": how, "step": trainer.global_step}
            self._write(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end(trainer, "finished")
        kept = keeper(trainer)
        if not trainer.is_global_zero or kept is None:
            return
        paths = {"best": kept.best_model_path, "last": kept.last_model_path}
        for logger in wandb_loggers(trainer):
            if logger.checkpoints:
                logger.log_checkpoints({alias: path for alias, path in paths.items() if path})

    def _write(self, trainer: Trainer) -> None:
        content = self._facts
        if self._earlier:
            content = {**content, "from_step": self._step, "earlier": self._earlier}
        write_whole(run_folder(trainer) / "run.json", json.dumps(content, indent=2) + "\n")


def say_changed(checkpoint: str | Path | None) -> None:
    """Say which of the user's own files have changed since the run of a checkpoint."""
    if checkpoint is not None:
        folder = Path(checkpoint).absolute().parent.parent
        if changed := own_sources.changed(folder):
            copies = folder / own_sources.FOLDER
            rank_zero_info(f"own code changed since the run: {', '.join(changed)}; as it was: {copies}")


def earlier(path: Path) -> list[Facts]:
    """Return the starts before this one, the first first."""
    if not path.is_file():
        return []
    with suppress(json.JSONDecodeError):  # cut short by a kill
        facts: Facts = json.loads(path.read_text(encoding="utf-8"))
        return [*facts.pop("earlier", []), facts]
    return []


def tell(trainer: Trainer, settings: Config) -> None:
    """Return all loggers but metrics.csv, which lies beside config.yaml and run.json."""
    for logger in trainer.loggers:
        if not isinstance(logger, CSVLogger):
            logger.log_hyperparams(settings)


def signatures_of(trainer: Trainer) -> dict[str, str]:
    """Return the signatures of the metrics; empty before the first evaluation."""
    evaluations = (each for each in trainer.callbacks if isinstance(each, Evaluation))  # type: ignore[attr-defined]
    return {name: signature for each in evaluations for name, signature in each.signatures.items()}


def wandb_loggers(trainer: Trainer) -> Iterator[Wandb]:
    """Ours among the loggers of the run."""
    return (logger for logger in trainer.loggers if isinstance(logger, Wandb))
