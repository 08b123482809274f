"""Learning rates in closed form."""

import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from s2s_lightning.callbacks import Evaluation
from s2s_lightning.errors import UserError
from s2s_lightning.training.schedules import Constant, Halving, InverseSqrt, Linear, Plateau, Schedule, WarmupCosine
from tests.helpers.toy import ToyData, ToyModule, toy_trainer

PEAK = 0.5


def rates(schedule: Schedule, steps: int, total: float = math.inf) -> list[float]:
    """The learning rate of each optimizer step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = schedule.build(optimizer, lambda: total)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_constant_rises_in_a_line_and_stays() -> None:
    assert rates(Constant(4), 6) == pytest.approx([PEAK * x for x in (0.25, 0.5, 0.75, 1, 1, 1)])
    assert rates(Constant(), 3) == [PEAK] * 3


@pytest.mark.parametrize("warmup", [1, 4])
def test_inverse_sqrt_is_the_formula_of_the_paper(warmup: int) -> None:
    paper = [min(n**-0.5, n * warmup**-1.5) / warmup**-0.5 for n in range(1, 13)]
    assert rates(InverseSqrt(warmup), 12) == pytest.approx([PEAK * x for x in paper])


def test_inverse_sqrt_without_warmup_starts_at_the_peak() -> None:
    assert rates(InverseSqrt(0), 4) == pytest.approx([PEAK / math.sqrt(n) for n in (1, 2, 3, 4)])


@pytest.mark.parametrize("end", [0.0, 0.2])
def test_cosine_and_linear_fall_from_the_peak_to_their_end(end: float) -> None:
    decay = [n / 10 for n in range(1, 11)]
    cosine = [end + (1 - end) * (1 + math.cos(math.pi * x)) / 2 for x in decay]
    line = [end + (1 - end) * (1 - x) for x in decay]
    for schedule, falling in ((WarmupCosine(2, end), cosine), (Linear(2, end), line)):
        expected = [0.5, 1.0, 1.0, *falling, falling[-1]]
        assert rates(schedule, 14, total=12) == pytest.approx([PEAK * x for x in expected])


def test_halving_cuts_at_its_start_and_after_each_further_interval() -> None:
    paper = Halving(5 / 7.5, 0.5 / 7.5)  # Sutskever's: an epoch is 4 steps here, half of it 2
    after = [PEAK / 2**cuts for cuts in (1, 2, 3, 4, 5) for _ in range(2)]
    assert rates(paper, 30, total=30) == pytest.approx([PEAK] * 20 + after)
    assert rates(Halving(0.5, 0.25, factor=0.1), 4, total=4) == pytest.approx([PEAK * x for x in (1, 1, 0.1, 0.01)])


@pytest.mark.parametrize("options", [(1.5, 0.1), (-0.1, 0.1), (0.5, 0.0), (0.5, 1.1), (0.5, 0.1, 0.0), (0.5, 0.1, 2)])
def test_halving_refuses_what_is_no_fraction(options: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"must be|fraction"):
        Halving(*options)


@pytest.mark.parametrize("schedule", [WarmupCosine(), Linear(), Halving(0.5, 0.1)])
def test_a_decay_to_the_end_of_a_run_without_end_is_refused(schedule: Schedule) -> None:
    with pytest.raises(UserError, match="max_steps"):
        rates(schedule, 1)


class Rates(Callback):
    """The learning rate of each epoch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_epoch_start(self, trainer, pl_module) -> None:  # type: ignore[no-untyped-def]
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def fit(folder: Path, schedule: Schedule, **options: object) -> list[float]:
    module, seen = ToyModule(), Rates()
    module.optimizer = lambda groups: torch.optim.SGD(groups, lr=1.0)
    module.schedule = schedule
    standing_still = {"gradient_clip_val": 1e-30}  # so that no metric improves
    trainer = toy_trainer(folder, callbacks=[Evaluation(), seen], **standing_still, **options)
    trainer.fit(module, datamodule=ToyData())
    return seen.seen


def test_plateau_cuts_the_rate_after_its_patience(tmp_path: Path) -> None:
    factors = fit(tmp_path, Plateau("val/bleu", "max", factor=0.1, patience=1), max_epochs=6)
    assert factors == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01])


def test_a_plateau_waits_for_the_epochs_that_validate(tmp_path: Path) -> None:
    factors = fit(tmp_path, Plateau("val/bleu", "max", factor=0.1, patience=0), max_epochs=6, check_val_every_n_epoch=2)
    assert factors == pytest.approx([1, 1, 1, 1, 0.1, 0.1])


def test_a_decay_ends_with_the_epochs_of_the_run(tmp_path: Path) -> None:
    assert fit(tmp_path, Linear(0), max_epochs=4) == pytest.approx([1, 0.75, 0.5, 0.25])


def test_a_run_without_end_refuses_a_decay_in_the_trainer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="max_steps"):
        fit(tmp_path, Linear(), max_epochs=-1, max_time={"seconds": 1})


@pytest.mark.parametrize("monitor", ["val/bleu", "val/chrf", "val/exact_match"])
def test_a_plateau_takes_the_mode_from_the_name_of_its_metric(monitor: str) -> None:
    rising, falling = (list(range(10)), list(range(9, -1, -1)))
    for values, cuts in ((rising, False), (falling, True)):
        assert (plateau(Plateau(monitor, patience=1), values)[-1] < PEAK) == cuts
        assert (plateau(Plateau("val/loss", patience=1), values)[-1] < PEAK) != cuts
    assert plateau(Plateau(monitor, mode="min", patience=1), falling)[-1] == PEAK


def plateau(schedule: Plateau, values: list[float], steps: int = 2) -> list[float]:
    """The learning rate of each step, where a validation follows on every ``steps``."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = schedule.build(optimizer, lambda: math.inf)
    seen = []
    for value in values:
        for _ in range(steps):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        scheduler.validated(value)
    return seen


def test_a_plateau_warms_up_and_never_cuts_below_its_floor() -> None:
    still = [1.0] * 6
    assert plateau(Plateau(patience=0, factor=0.1, warmup_steps=4, min_lr=0.02), still) == pytest.approx(
        [PEAK / 4, PEAK / 2, PEAK * 3 / 4, PEAK, PEAK / 10, PEAK / 10, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02]
    )
    with pytest.raises(UserError, match=r"min_lr=1\.0"):
        plateau(Plateau(min_lr=1.0), still)


@pytest.mark.parametrize(("gain", "improves"), [(0.9e-4, False), (1.1e-4, True)])
@pytest.mark.parametrize("best", [2.0, -2.0])
def test_an_improvement_is_one_of_more_than_a_ten_thousandth(best: float, gain: float, improves: bool) -> None:
    assert Plateau("val/loss").improves(best - gain * abs(best), best) == improves
    assert Plateau("val/bleu").improves(best + gain * abs(best), best) == improves
    assert not Plateau("val/loss").improves(math.nan, None)


@pytest.mark.parametrize("every", [1, 2, 5, 7])
def test_a_plateau_counts_validations_by_steps_within_and_beyond_epochs(every: int, tmp_path: Path) -> None:
    """Epochs have 10 steps."""
    options = {"max_epochs": 3, "val_check_interval": every, "check_val_every_n_epoch": None}
    module = ToyModule()
    module.optimizer = lambda groups: torch.optim.SGD(groups, lr=1.0)
    module.schedule = Plateau(factor=0.5, patience=0)
    still = {"gradient_clip_val": 1e-30}
    trainer = toy_trainer(tmp_path, callbacks=[Evaluation()], **still, **options)
    trainer.fit(module, datamodule=ToyData())
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.5 ** (30 // every - 1)


def test_the_state_of_an_earlier_versions_plateau_goes_on() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = Plateau(patience=2).build(optimizer, lambda: math.inf)
    before = torch.optim.lr_scheduler.ReduceLROnPlateau(torch.optim.SGD([torch.zeros(1)], lr=PEAK), patience=1)
    for value in (1.0, 2.0, 2.0, 2.0):
        before.step(value)
    scheduler.load_state_dict(before.state_dict())
    assert (scheduler.best, scheduler.waited, scheduler.rates()) == (1.0, 1, pytest.approx([PEAK / 10]))
