"""The end of a run: a last validation, and the patience after which it ends early."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from s2s_lightning.callbacks.checkpointing.checkpoints import BestAndLast
from s2s_lightning.errors import check_at_least


class ValidateAtEnd(Callback):
    """A run that ends between two validations validates once more, so that its end is judged too.

    What ends it makes no difference: ``max_steps``, ``max_epochs``, ``max_time``, or another callback. An interrupted
    run is to go on, and does not validate. If the last validation is cut short, the resumed run makes it: Lightning
    would find the run at its end, and do nothing.
    """

    def __init__(self) -> None:
        self._owed = False
        self._validated = -1

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        fit, step = checkpoint["loops"]["fit_loop"], checkpoint["global_step"]
        counts = fit["epoch_loop.val_loop.batch_progress"]["total"]
        judged = checkpoint["callbacks"].get(self.state_key, {}).get("validated", step) == step
        epochs, limit = fit["epoch_progress"]["current"]["processed"], trainer.max_epochs
        begun = counts["started"] > counts["processed"] and 0 < trainer.max_steps <= step
        missing = not judged and limit not in (None, -1) and limit <= epochs
        self._owed = bool(trainer.enable_validation and (begun or missing))
        if self._owed:  # until training has started
            trainer.fit_loop.epoch_loop.max_steps += trainer.max_steps != -1
            trainer.fit_loop.max_epochs = limit if limit in (None, -1) else limit + 1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._owed:
            loop, limit = trainer.fit_loop.epoch_loop, trainer.fit_loop.max_epochs
            loop.max_steps -= loop.max_steps != -1
            trainer.fit_loop.max_epochs = limit if limit in (None, -1) else limit - 1
            trainer.validating = True
            loop.val_loop.run()
            trainer.training = trainer.should_stop = True

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True  # to which the training loop's answer is a validation, in epochs that have one

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._validated = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        judged = self._validated == trainer.global_step or getattr(trainer, "fast_dev_run", False)
        if judged or not trainer.enable_validation or not trainer.global_step:
            return
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.run()
        trainer.training = True

    def state_dict(self) -> dict[str, Any]:
        return {"validated": self._validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validated = state_dict["validated"]


class Patience(EarlyStopping):
    """Ends the run after so many validations in a row without improvement of what chooses the best checkpoint.

    Args:
        checkpoints: what knows the metric.
        patience: validations without improvement; 0 ends the run at the first one, as does 1.

    Raises:
        UserError: a negative patience.
    """

    def __init__(self, checkpoints: BestAndLast, patience: int) -> None:
        check_at_least(0, patience=patience)
        # Not strict: that the metric is missing is said by the checkpoints, with the right name.
        super().__init__(checkpoints.monitor, patience=patience, mode=checkpoints.mode, strict=False)

    def followed(self) -> list[tuple[str, str]]:
        """Return the option that names the metric, and the metric."""
        return [("--checkpoint.monitor of --patience", self.monitor)]

    @property
    def longer(self) -> int | None:
        """The patience with which an exhausted run goes on; None when it is not exhausted."""
        exhausted = self.wait_count and self.wait_count >= self.patience
        return self.wait_count + max(1, self.patience) if exhausted else None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load everything but the patience, which a resumed run may change."""
        super().load_state_dict({**state_dict, "patience": self.patience})
