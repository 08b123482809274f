"""How a run ends by itself: with a validation, or when patience is out."""

from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from s2s_lightning.callbacks.checkpoints import BestAndLast
from s2s_lightning.errors import check_at_least


class ValidateAtEnd(Callback):
    """A run that ``max_steps`` ends between two validations validates once more, so that its end is judged too."""

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True  # to which the training loop's answer is a validation


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

    @property
    def longer(self) -> int | None:
        """The patience with which an exhausted run goes on; None when it is not exhausted."""
        exhausted = self.wait_count and self.wait_count >= self.patience
        return self.wait_count + max(1, self.patience) if exhausted else None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """All but the patience, which a resumed run may change."""
        super().load_state_dict({**state_dict, "patience": self.patience})
