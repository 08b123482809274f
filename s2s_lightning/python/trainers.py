"""Trainers of Python programs: what a plain Lightning Trainer lacks, and one with all that the command line has."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from s2s_lightning.callbacks import DEFAULT_CALLBACKS
from s2s_lightning.callbacks.checkpointing.checkpoints import BestAndLast
from s2s_lightning.callbacks.checkpointing.end_of_run import Patience, ValidateAtEnd
from s2s_lightning.callbacks.checkpointing.monitors import Monitors
from s2s_lightning.callbacks.checkpointing.stop_signal import StopWhenAsked
from s2s_lightning.callbacks.diagnostics.skipped_steps import SkippedSteps
from s2s_lightning.callbacks.first_batch import CheckFirstBatch
from s2s_lightning.callbacks.reports.evaluation import Evaluation, EvaluationLog
from s2s_lightning.callbacks.reports.throughput import Throughput
from s2s_lightning.callbacks.weights.random_draws import Draws
from s2s_lightning.checkpoints.checkpoint import other_network
from s2s_lightning.cluster.loopback import stay_on_this_machine
from s2s_lightning.cluster.roll_call import RollCall
from s2s_lightning.data import Seq2SeqData
from s2s_lightning.errors import UserError
from s2s_lightning.experiments.sweeps.study_trial import of_environment
from s2s_lightning.inference.search_tools import tools_of
from s2s_lightning.runs.finished import forget_end, mark_end
from s2s_lightning.runs.folder import enter, new_run_folder
from s2s_lightning.runs.growing_files import growing_files
from s2s_lightning.runs.lock import hold, release
from s2s_lightning.runs.resume import WAIT, Run, named_run, newest, tidy
from s2s_lightning.tracking import Record, loggers
from s2s_lightning.training.module import Seq2SeqModule
from s2s_lightning.training.quiet import hush
from s2s_lightning.training.trainer_errors import explained

TRAINER_DEFAULTS = {
    "default_root_dir": "runs",
    "use_distributed_sampler": False,  # the bucket sampler shares the data out itself
    "num_sanity_val_steps": 0,
    "gradient_clip_val": 1.0,
    "enable_model_summary": False,  # the summary callback tells more
    "log_every_n_steps": 50,
}


class Attach(Callback):
    """Gives objective and search what they need of the data: the tokenizers, and other checkpoints by their paths."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data = getattr(trainer, "datamodule", None)
        if isinstance(pl_module, Seq2SeqModule) and isinstance(data, Seq2SeqData):
            attach(pl_module, data, trains=stage == "fit")


def attach(module: Seq2SeqModule, data: Seq2SeqData, *, trains: bool) -> None:
    """Attach the search, and for training the objective, unless it is done already for this data module."""
    done = vars(data).setdefault("_attached", {})  # not the module's: moving averages copy a module
    parts: dict[str, Any] = {"decoding": module.decoding, **({"objective": module.objective} if trains else {})}
    for name, part in parts.items():
        if done.get(name) is not part:
            part.attach(partial(other_network, data=data) if name == "objective" else tools_of(data))
            done[name] = part


def missing_callbacks(trainer: Trainer) -> list[Callback]:
    """Return the callbacks that each training or evaluation needs and this trainer lacks.

    The trainer of the command line has them all, so that nothing is computed or logged twice.
    """
    if trainer.barebones:
        return []
    present = trainer.callbacks  # type: ignore[attr-defined]
    needed: list[tuple[type[Callback], type[Callback]]] = [
        (Attach, Attach), (Draws, Draws), (Evaluation, EvaluationLog), (Throughput, Throughput),
        (CheckFirstBatch, CheckFirstBatch),
    ]  # fmt: skip
    return [added() for kind, added in needed if not any(isinstance(each, kind) for each in present)]


def beside(brought: Sequence[Callback], defaults: Sequence[Callback], *, progress: bool) -> list[Callback]:
    """Return the default callbacks that stand beside the user's own.

    A callback of the same class, or of a class below it, replaces a default one, and any progress bar replaces ours.
    """
    kept = [each for each in defaults if not any(isinstance(own, type(each)) for own in brought)]
    bar = progress and not any(isinstance(own, ProgressBar) for own in brought)
    return [each for each in kept if bar or not isinstance(each, ProgressBar)]


class RunTrainer(Trainer):
    """A Lightning Trainer of one run: its folder, its checkpoints, and the callbacks of the command line.

    Attributes:
        run: the folder, and the checkpoint in it that the first ``fit`` resumes from, or None.
    """

    def __init__(self, run: Run, **options: Any) -> None:
        super().__init__(default_root_dir=run.folder, **options)
        self.run = run
        self._begun = False

    def fit(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: Any = None,
        weights_only: bool | None = True,
    ) -> None:
        """Train as Lightning does, from the newest intact checkpoint of the folder if there is one.

        The folder is marked as finished at the end. A ``ckpt_path`` of another run is continued in this folder.
        """
        if not self._begun:
            ckpt_path = ckpt_path or self.run.checkpoint
            tidy(self.run, growing_files(self.callbacks))  # type: ignore[attr-defined]
        elif ckpt_path == "last":
            ckpt_path = newest(self.run.folder)
        self._begun = True
        if self.is_global_zero:
            hold(self.run.folder, WAIT)
            forget_end(self.run.folder)
        try:
            with explained(self.run.folder):
                super().fit(model, train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only)
        finally:
            release()
        if self.is_global_zero and not self.fast_dev_run:  # type: ignore[attr-defined]
            mark_end(self.run.folder, self.global_step)


def trainer(
    run: str | Path | None = None,
    *,
    checkpoint: BestAndLast | None = None,
    patience: int | None = None,
    callbacks: Callback | list[Callback] | None = None,
    logger: Any = None,
    default_root_dir: str | Path = "runs",
    **options: Any,
) -> RunTrainer:
    """Return a Lightning Trainer with the run folder, callbacks and defaults of the command line.

    Args:
        run: folder of the run, which ``fit`` resumes if it holds a checkpoint; None: a new one below
            ``default_root_dir``, named after the script and the time.
        checkpoint: what is kept; ``BestAndLast()`` by default.
        patience: validations without improvement after which the run ends.
        callbacks: your own, beside the default ones; one of a default's class, and any progress bar, replaces it.
        logger: loggers beside ``metrics.csv``; False for none at all.
        default_root_dir: where folders of new runs are made.
        options: all others of Lightning's ``Trainer``.

    Raises:
        UserError: a folder that cannot be written or that another process trains in, or options that Lightning refuses.
    """
    hush()
    stay_on_this_machine()
    folder = _run(run, Path(default_root_dir))
    chosen = {**TRAINER_DEFAULTS, **options}
    del chosen["default_root_dir"]
    chosen["logger"] = loggers([] if logger is None else logger, folder.folder, "fit")
    brought = as_list(callbacks)
    defaults = [kind() for kind in DEFAULT_CALLBACKS.values()]
    kept = beside(brought, defaults, progress=chosen.get("enable_progress_bar") is not False)
    best = checkpoint or BestAndLast()
    saver = None if chosen.get("enable_checkpointing") is False else best
    kept += [] if saver is None else [saver]
    kept += [] if patience is None else [Patience(best, patience)]
    ends = [SkippedSteps(), ValidateAtEnd(), *of_environment(), Record({}), StopWhenAsked(saver)]
    chosen["callbacks"] = [Monitors(), *brought, RollCall(), Attach(), Draws(), *kept, *ends]
    try:
        return RunTrainer(folder, **chosen)
    except (MisconfigurationException, ValueError, TypeError, ModuleNotFoundError) as error:
        raise UserError(f"trainer: {error}") from error


def _run(run: str | Path | None, root: Path) -> Run:
    """The run's folder, made and locked."""
    if run is not None:
        named = named_run({"run": str(Path(run).expanduser())})
        assert named is not None
        return named._replace(folder=enter(named.folder))
    script = Path(sys.argv[0])
    return Run(new_run_folder(root.expanduser() / (script.stem if script.suffix == ".py" else "python"), "fit"), None)


def as_list(value: Any) -> list[Any]:
    """Return what the Trainer takes as one, several or none, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
