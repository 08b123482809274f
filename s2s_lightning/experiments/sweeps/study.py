"""A study that any number of processes and machines share, without a point of the grid done twice.

What makes this safe on any storage is that a storage numbers its trials 0, 1, 2, ... once and for all. A *fresh*
trial's index is the number of fresh trials before it, so no two have the same. Optuna's ``GridSampler`` may repeat
points when several processes take from it, as its documentation says. A trial that Ctrl-C or a lost machine ended gets
a successor with its parameters, which runs instead; of two made at once the lower number counts.
"""

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from s2s_lightning.errors import UserError
from s2s_lightning.experiments.sweeps.drawn_values import distributions, draw
from s2s_lightning.experiments.sweeps.sweep_settings import Sweep, differences
from s2s_lightning.experiments.sweeps.trials import (
    AGAIN,
    SUCCESSOR_OF,
    SUPERFLUOUS,
    forsaken,
    fresh,
    is_lost,
    origin,
    owner,
    real,
)

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial


class Study:
    """The study of a sweep.

    Args:
        sweep: what is searched.
        storage: where.
        name: of the study in it.
        limit: trials in all.

    Raises:
        UserError: the study of that name was made for another sweep.
    """

    def __init__(self, sweep: Sweep, storage: "BaseStorage", name: str, limit: int) -> None:
        self.sweep = sweep
        self.limit = limit
        self.storage = storage
        self.optuna = _created(sweep, storage, name)
        self.distributions = distributions(sweep)

    def trials(self) -> "list[FrozenTrial]":
        """Return all trials by number."""
        return sorted(self.optuna.get_trials(deepcopy=False), key=lambda trial: trial.number)

    def real(self) -> "list[FrozenTrial]":
        """Return the trials that count: none that was to run again, and none that came too late."""
        return real(self.trials())

    @property
    def target_reached(self) -> bool:
        values = [trial.value for trial in self.real() if trial.value is not None]
        return any(map(self.sweep.metric.reached_by, values))

    def claim(self) -> "Trial | None":
        """A trial to run now, with its parameters: one that is to run again, or a fresh one, or None."""
        trials = self.trials()
        if len(real(trials)) >= self.limit or self.target_reached:
            return None
        for old in forsaken(trials):
            if trial := self._successor(old):
                return trial
        if self.sweep.grid_size is not None and len(fresh(trials)) >= self.sweep.grid_size:
            return None
        return self._begin()

    def values(self, trial: "Trial | FrozenTrial") -> dict[tuple[str, ...], Any]:
        """Return the value of each parameter in the trial, constants included."""
        return {
            parameter.path: parameter.settings["value"]
            if parameter.is_constant
            else parameter.value(trial.params[parameter.name], self.distributions[parameter.name])
            for parameter in self.sweep.parameters
        }

    def beat(self, trial: "Trial") -> None:
        """A sign of life."""
        trial.set_user_attr("alive", time.time())

    def give_back(self, trial: "Trial") -> None:
        """It ends here, and is to run again."""
        with suppress(*taken()):
            trial.set_user_attr(AGAIN, True)
            self.optuna.tell(trial, state=_state("FAIL"))

    def complete(self, trial: "Trial", values: Sequence[float], stopped: bool) -> None:
        """It has ended well, by itself or because it was told to stop.

        Args:
            values: what it has reported; at least one is finite. The best of them is the trial's.
        """
        with suppress(*taken()):
            if stopped:
                self.optuna.tell(trial, state=_state("PRUNED"))
            else:
                self.optuna.tell(trial, self.sweep.metric.best(values))

    def fail(self, trial: "Trial", cause: str) -> None:
        with suppress(*taken()):
            trial.set_user_attr("cause", cause)
            self.optuna.tell(trial, state=_state("FAIL"))

    def give_up_lost_ones(self, own: Iterable[int] = ()) -> list[int]:
        """Mark for another run what a killed process or a lost machine has left running; their numbers.

        Args:
            own: the numbers of this process's trials.
        """
        lost = [t for t in self.trials() if t.state.name == "RUNNING" and t.number not in {*own} and is_lost(t)]
        for trial in lost:
            self.give_back(self._handle(trial))
        return [trial.number for trial in lost]

    def _begin(self) -> "Trial | None":
        from optuna.samplers import RandomSampler

        self.optuna.sampler = RandomSampler()  # draws nothing before the index is known
        trial = self.optuna.ask()
        trial.set_user_attr("owner", owner())
        self.beat(trial)
        before = [other for other in self.trials() if other.number < trial.number]
        index = len(fresh(before))
        if self.sweep.grid_size is not None and index >= self.sweep.grid_size:
            self._drop(trial)
            return None
        draw(self.optuna, trial, self.sweep, index)
        if len(real(before)) >= self.limit:  # another process was first
            self.give_back(trial)
            return None
        return trial

    def _successor(self, old: "FrozenTrial") -> "Trial | None":
        from optuna.trial import create_trial

        token = uuid4().hex
        self.optuna.add_trial(
            create_trial(
                state=_state("RUNNING"),
                params=old.params,
                distributions=old.distributions,
                user_attrs={SUCCESSOR_OF: old.number, "token": token, "owner": owner(), "alive": time.time()},
            )
        )
        trials = self.trials()
        rivals = [trial for trial in trials if trial.user_attrs.get(SUCCESSOR_OF) == old.number]
        mine = next(trial for trial in rivals if trial.user_attrs["token"] == token)
        trial = self._handle(mine)
        before = [other for other in trials if other.number < mine.number]
        if rivals[0].number != mine.number:
            self._drop(trial)
            return None
        index = len(fresh(t for t in trials if t.number < origin(mine, trials)))
        draw(self.optuna, trial, self.sweep, index)
        if len(real(before)) >= self.limit:
            self.give_back(trial)
            return None
        return trial

    def _drop(self, trial: "Trial") -> None:
        """It came too late to be needed."""
        with suppress(*taken()):
            trial.set_user_attr(SUPERFLUOUS, True)
            self.optuna.tell(trial, state=_state("FAIL"))

    def _handle(self, trial: "FrozenTrial") -> "Trial":
        """Return a trial that this process has not asked for itself."""
        from optuna.trial import Trial

        study = self.storage.get_study_id_from_name(self.optuna.study_name)
        return Trial(self.optuna, self.storage.get_trial_id_from_study_id_trial_number(study, trial.number))


def _created(sweep: Sweep, storage: "BaseStorage", name: str) -> "optuna.Study":
    import optuna

    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if sweep.stopping:
        pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=sweep.stopping.first, reduction_factor=sweep.stopping.eta
        )
    study = optuna.create_study(
        storage=storage, study_name=name, direction=sweep.metric.goal, load_if_exists=True, pruner=pruner
    )
    said = json.loads(json.dumps(sweep.said))
    if (stored := study.user_attrs.get("sweep")) is None:
        study.set_user_attr("sweep", said)
    elif changes := list(differences(stored, said)):
        raise UserError(
            f"the study {name} was made for another sweep file ({'; '.join(changes)}): undo the change, or begin "
            "another study with --folder"
        )
    return study


def _state(name: str) -> "optuna.trial.TrialState":
    from optuna.trial import TrialState

    return TrialState[name]


def taken() -> tuple[type[Exception], ...]:
    """Return the errors of Optuna for a trial that another process has ended meanwhile."""
    from optuna.exceptions import UpdateFinishedTrialError

    return UpdateFinishedTrialError, ValueError
