"""W&B switched on: the real client, without an account unless a test brings a server."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure

from s2s_lightning.callbacks.reports.media import log_picture, log_table
from s2s_lightning.runs.trainer_queries import run_folder
from tests.cli.conftest import Run, config, done, trained

__all__ = ["config", "trained"]  # fixtures of the command line's tests


class ShowSomething(Callback):
    """A picture and a table at each validation, as callbacks of the package make them."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        path = run_folder(trainer) / "chart.png"
        figure = Figure(figsize=(2, 1))
        figure.add_axes((0, 0, 1, 1)).plot([0, 1], [trainer.global_step, 0], "red")
        figure.savefig(path)
        log_picture(trainer, "chart", path)
        log_table(trainer, "mixed", ["name", "value"], [["a|b", 1], ["c\nd", None], ["e", "f"]])


class Breaks(Callback):
    """At the third step."""

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == 2:
            raise RuntimeError("broken on purpose")


SHOW = f"--trainer.callbacks+={__name__}.ShowSomething"
BREAK = f"--trainer.callbacks+={__name__}.Breaks"


@pytest.fixture(scope="module")
def _wandb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A user of W&B without a key, whose own account and settings are out of reach."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        patch.setenv("NETRC", str(home / "netrc"))
        for folder in ("CONFIG", "CACHE", "DATA"):
            patch.setenv(f"WANDB_{folder}_DIR", str(home))
        leave_wandb()
        yield
    leave_wandb()


def leave_wandb() -> None:
    """The client reads its environment once a session: end the session."""
    import wandb

    wandb.teardown()


@pytest.fixture
def _new_session(_wandb: None) -> Iterator[None]:
    """A session of the client for one test, which may set variables of its own before."""
    leave_wandb()
    yield
    leave_wandb()


class Offline(NamedTuple):
    """A run, and what was printed in it."""

    folder: Path
    printed: str

    @property
    def checkpoint(self) -> Path:
        return Run(self.folder).last


@contextmanager
def heard() -> Iterator[list[str]]:
    """What Lightning's logging is told meanwhile, which on a terminal is printed."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


@pytest.fixture(scope="module")
def offline(_wandb: None, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Offline:
    """A run of four steps without a key, with a log and a validation at each second one."""
    root = tmp_path_factory.mktemp("offline")
    every = ("--trainer.log_every_n_steps", 2, "--trainer.val_check_interval", 2)
    with heard() as messages:
        result = done("fit", "--config", config, SHOW, *every, "--trainer.default_root_dir", root)
    (folder,) = root.glob("*/[0-9]*")
    return Offline(folder, "\n".join([result.out, result.err, *messages]))
