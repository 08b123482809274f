"""Weights & Biases as the logger of ``fit``; wandb is imported when a run begins and not before."""

import os
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from s2s_lightning.errors import UserError
from s2s_lightning.tracking.identity import Identity

QUIET: dict[str, Any] = {"show_info": False, "quiet": True}
"""No banner, no summary, and never a question for a key; warnings and errors are shown."""

TIMEOUTS: dict[str, Any] = {"init_timeout": 30.0, "finish_timeout": 600.0}
"""Seconds after which a run begins, or ends, without the server."""

STEP = "trainer/global_step"
"""Lightning's axis of all metrics."""


class Wandb(WandbLogger):
    """Weights & Biases: online with an API key; offline without one, or where the server does not answer.

    W&B's own variables hold: WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY, WANDB_NAME, WANDB_DIR, WANDB_RUN_ID, ...

    Args:
        project: where the run is listed; s2s_lightning by default.
        entity: user or team that it belongs to; that of the key by default.
        name: of the run; that of its folder by default.
        group: name of the runs that are shown together.
        tags: words to find the run by.
        notes: what the run is about.
        checkpoints: upload best.ckpt and last.ckpt at the end of the run, as an artifact of two versions with the
            aliases best and last.
        settings: further fields of ``wandb.Settings``.
        save_dir: where its folder ``wandb`` is made; the command line gives the run's own folder.

    Raises:
        UserError: when the run begins, if W&B has no such setting.
    """

    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
        checkpoints: bool = False,
        settings: dict[str, Any] | None = None,
        save_dir: str | None = None,
    ) -> None:
        project = project or os.environ.get("WANDB_PROJECT") or "s2s_lightning"
        folder = save_dir or os.environ.get("WANDB_DIR") or "."
        super().__init__(
            name=name, save_dir=folder, project=project, entity=entity, group=group, tags=tags, notes=notes
        )
        del self._wandb_init["anonymous"]  # for which W&B has nothing left but a warning
        self.checkpoints = checkpoints
        self.settings: dict[str, Any] = {**TIMEOUTS, **(settings or {})}
        self._given_folder = save_dir is not None
        self._repeats_steps = True
        self._complained = False
        self._recorded = 0
        self._swept: set[str] = set()

    # Before the run begins

    def belong_to(self, folder: Path, command: str) -> None:
        """Attach the logger to a run of the command line: its place and, of a new run, its name, unless the user gave
        others.
        """
        if not (self._given_folder or os.environ.get("WANDB_DIR")):
            self._save_dir = self._wandb_init["dir"] = str(folder)
        init = self._wandb_init
        if init["name"] is None and init["id"] is None and not os.environ.get("WANDB_NAME"):
            init["name"] = f"{folder.parent.name}/{folder.name}"
        self._repeats_steps = command == "fit"
        init["job_type"] = os.environ.get("WANDB_JOB_TYPE") or command

    def go_on_with(self, run: Identity) -> None:
        """Continue a W&B run."""
        self._id = run.id
        self._wandb_init.update(id=run.id, project=run.project, entity=run.entity)

    # The run

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """W&B's ``Run``, begun when first asked for."""
        if self._experiment is None:
            self._begin()
        return self._experiment

    def _begin(self) -> None:
        import wandb

        wandb.setup(wandb.Settings(**QUIET))
        try:
            self._wandb_init.update(_left_to_wandb(), settings=wandb.Settings(**QUIET, **self.settings))
        except ValueError as error:
            raise UserError(f"--trainer.logger.settings: {' '.join(str(error).split())}") from error
        try:
            run, why = super().experiment, ""
        except Exception as error:  # a training must not fail for want of an account, a network or a server
            self._wandb_init["mode"] = "offline"
            run, why = super().experiment, f" ({str(error).splitlines()[0].rstrip('.')})"
        self._id = self._wandb_init["id"] = run.id
        self._recorded = run.summary.get(STEP, 0) if run.resumed and self._repeats_steps else 0
        self._swept = set(run.config.keys()) if run.sweep_id else set()
        if run.offline:
            rank_zero_info(f"W&B is offline{why}; upload with: wandb sync {_short(run.dir)}")
        elif not run.disabled:
            rank_zero_info(f"W&B  {run.url}")

    def __getstate__(self) -> dict[str, Any]:
        """Return a state whose copy begins no run, as settings are copied; another process attaches to a run that has
        begun.
        """
        return dict(vars(self)) if self._experiment is None else super().__getstate__()

    @property
    def identity(self) -> Identity | None:
        """Return the address of the run; None before it begins."""
        run = self._experiment
        return None if run is None or run.disabled else Identity(run.id, run.project, run.entity or None)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics, but not again those of steps that an interrupted run had logged and repeats.

        A test is of the step of its checkpoint, which may be an earlier one.
        """
        _ = self.experiment  # begun now, if it has not yet
        if step is None or step >= self._recorded or any(name.startswith("test/") for name in metrics):
            with self._training_goes_on():
                super().log_metrics(metrics, step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log the configuration. W&B keeps the sweep's values alone: the rest of such a group goes beside it, by dotted
        names.
        """
        _ = self.experiment  # which knows what its sweep has set
        given = vars(params) if isinstance(params, Namespace) else params
        free = {key: value for key, value in given.items() if key not in self._swept}
        beside = {name: value for key in given.keys() & self._swept for name, value in leaves(given[key], key)}
        with self._training_goes_on():
            super().log_hyperparams({**free, **beside})

    @rank_zero_only
    def log_checkpoints(self, paths: Mapping[str, str]) -> None:
        """Upload files as versions of one artifact, each under its alias."""
        import wandb

        for alias, path in paths.items():
            artifact = wandb.Artifact(f"checkpoint-{self.experiment.id}", type="model")
            artifact.add_file(path, policy="immutable", skip_cache=True)  # it lies where it is until W&B has read it
            with self._training_goes_on():
                self.experiment.log_artifact(artifact, aliases=[alias])

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run, with exit code 1 after a crash or Ctrl-C; what is logged later goes on with it, and is new."""
        run, self._experiment = self._experiment, None
        self._repeats_steps = False
        if run is not None:
            with self._training_goes_on():
                run.finish(exit_code=int(status != "success"))

    @contextmanager
    def _training_goes_on(self) -> Iterator[None]:
        """Lose and report once what W&B cannot take: a table, say, for which it asks a server that is gone."""
        try:
            yield
        except Exception as error:
            if not self._complained:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                rank_zero_info(f"W&B did not take all of what is logged, which the run's folder has: {reason}")
            self._complained = True


def leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Dotted name and value of each entry of a nested mapping."""
    if not isinstance(value, dict):
        yield name, value
        return
    for key, inner in value.items():
        yield from leaves(inner, f"{name}.{key}")


def _left_to_wandb() -> dict[str, None]:
    """Return the settings that the environment decides: an agent of a sweep decides the whole identity of a run."""
    if os.environ.get("WANDB_SWEEP_ID"):
        return dict.fromkeys(("project", "entity", "id", "name", "job_type", "resume"))
    return {"resume": None} if os.environ.get("WANDB_RESUME") else {}


def _short(folder: str) -> str:
    """Return the folder that W&B syncs, whose ``files`` it is, in short."""
    path = Path(folder).parent
    return min(str(path), os.path.relpath(path), key=len)
