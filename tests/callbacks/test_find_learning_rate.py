"""The range test: its losses are those of steps made by hand, and a run after it is the run without it."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy, Strategy
from torch.nn.utils import clip_grad_norm_

from s2s_lightning.callbacks import DropTokens, FindLearningRate
from s2s_lightning.callbacks.diagnostics.rehearsal import rehearsal
from s2s_lightning.callbacks.finders.find_learning_rate import Curve, smoothed, suggested, suggestion
from s2s_lightning.data import Seq2SeqData
from s2s_lightning.data.corpora import Generated
from s2s_lightning.errors import UserError
from s2s_lightning.model import Batch
from s2s_lightning.training.schedules import InverseSqrt
from tests.helpers.toy import ToyData, ToyModule, toy_network, toy_trainer, toy_words, windows

PAIRS = [(word, word) for word in toy_words(11, seed=3)]
BATCHES = [PAIRS[:3], PAIRS[3:4], PAIRS[4:9], PAIRS[9:]]


def toy_module(**optimizer: Any) -> ToyModule:
    """With Adam, which remembers, and a schedule that moves at each step."""
    module = ToyModule()
    module.optimizer = lambda groups: torch.optim.AdamW(groups, **{"lr": 0.03, "weight_decay": 0.1, **optimizer})
    module.schedule = InverseSqrt(warmup_steps=3)
    return module


def real_data(folder: Path) -> Seq2SeqData:
    """Real batches in an order of their own, whose ids the toy network knows."""
    corpus = Generated("copy", symbols=6, max_length=5, train_pairs=60, val_pairs=2, test_pairs=2)
    return Seq2SeqData(corpus, max_tokens=40, cache_dir=str(folder / "cache"))


class Watch(Callback):
    """What a run reads and draws, and what it has at its end."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        group = trainer.optimizers[0].param_groups[0]
        self.seen += [batch.src, outputs["loss"].detach().clone(), torch.rand(1), torch.tensor(group["lr"])]

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        state = trainer.optimizers[0].state_dict()["state"]
        self.seen += [*pl_module.state_dict().values(), *(value for one in state.values() for value in one.values())]


def run(folder: Path, *callbacks: Callback, **options: Any) -> list[torch.Tensor]:
    watch = Watch()
    settings = {"callbacks": [*callbacks, DropTokens(src_word=0.3), watch], "max_epochs": 2, "gradient_clip_val": 1.0}
    torch.manual_seed(5)
    toy_trainer(folder, **{**settings, **options}).fit(toy_module(), datamodule=real_data(folder))
    return watch.seen


def losses_by_hand(rates: list[float], accumulate: int) -> list[float]:
    """Of Adam on the mean over the tokens of each window, whose micro-batches are read in turn again and again."""
    model = toy_network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    epoch = [BATCHES[i : i + accumulate] for i in range(0, len(BATCHES), accumulate)]
    losses = []
    for step, rate in enumerate(rates):
        (whole,) = windows([[pair for batch in epoch[step % len(epoch)] for pair in batch]], 1)
        log_probs = model.log_probs(model.teacher_force(whole))
        real = whole.tgt_out != 0
        nll = -log_probs.gather(-1, whole.tgt_out.unsqueeze(-1)).squeeze(-1)
        loss = (0.9 * nll - 0.1 * log_probs.mean(-1))[real].mean()
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 0.5)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        losses.append(loss.item())
    return losses


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "lr_finder.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_its_losses_are_those_of_steps_made_by_hand(tmp_path: Path, accumulate: int) -> None:
    module = ToyModule()
    module.optimizer = lambda groups: torch.optim.SGD(groups, lr=7.0, momentum=0.9)
    finder = FindLearningRate(1e-3, 1.0, 9, smoothing=0.5, divergence=100)
    options = {"accumulate_grad_batches": accumulate, "gradient_clip_val": 0.5, "callbacks": [finder]}
    toy_trainer(tmp_path, **options).fit(module, datamodule=ToyData(windows(BATCHES, accumulate)))
    found = rows(tmp_path)
    by_hand = losses_by_hand([row["lr"] for row in found], accumulate)
    assert len(found) == 9
    np.testing.assert_allclose([row["loss"] for row in found], by_hand, rtol=1e-6)  # the divisor is float32
    np.testing.assert_allclose(np.diff(np.log([row["lr"] for row in found])), np.log(1e3) / 8)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_after_it_is_bit_for_bit_the_run_without_it(tmp_path: Path, accumulate: int) -> None:
    finder = FindLearningRate(num_steps=40, then="train")
    plain = run(tmp_path, accumulate_grad_batches=accumulate)
    found = run(tmp_path, finder, accumulate_grad_batches=accumulate)
    assert rows(tmp_path)
    assert len(plain) == len(found)
    assert all(torch.equal(a, b) for a, b in zip(plain, found, strict=True))


def test_what_is_applied_is_the_peak_of_the_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2s_lightning.callbacks.finders.find_learning_rate.suggested", lambda found: 0.0625)
    first, second = toy_module(), toy_module(lr=0.0625)
    data = ToyData(windows(BATCHES, 1))
    toy_trainer(tmp_path, callbacks=[FindLearningRate(1e-4, 0.1, 20, then="apply")]).fit(first, datamodule=data)
    toy_trainer(tmp_path).fit(second, datamodule=data)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_it_ends_the_run_before_its_first_step_and_says_what_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = toy_trainer(tmp_path, callbacks=[FindLearningRate(1e-4, 0.1, 20)])
    trainer.fit(toy_module(), datamodule=ToyData())
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "suggested" in line]
    curve = [(row["lr"], row["smoothed"]) for row in rows(tmp_path)]
    least, _ = min(curve[10:], key=lambda point: point[1])
    assert trainer.global_step == 0
    assert float(line.split("--optimizer.init_args.lr ")[1].split()[0]) == pytest.approx(least / 10, rel=0.06)
    assert (tmp_path / "lr_finder.png").read_bytes().startswith(b"\x89PNG")


def test_it_stops_where_the_loss_diverges(tmp_path: Path) -> None:
    module = ToyModule()
    module.optimizer = lambda groups: torch.optim.SGD(groups, lr=1.0)
    finder = FindLearningRate(1e-2, 1e4, 60, divergence=2.0)
    toy_trainer(tmp_path, callbacks=[finder]).fit(module, datamodule=ToyData())
    average = [row["smoothed"] for row in rows(tmp_path)]
    above = [value > 2 * min(average[: i + 1]) for i, value in enumerate(average)]
    assert above == [False] * (len(above) - 1) + [True]
    assert len(above) < 60


def test_a_resumed_run_is_not_tested_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = toy_trainer(tmp_path, max_steps=2)
    first.fit(toy_module(), datamodule=ToyData())
    first.save_checkpoint(tmp_path / "a.ckpt")
    trainer = toy_trainer(tmp_path, max_epochs=-1, max_steps=4, callbacks=[FindLearningRate()])
    trainer.fit(toy_module(), datamodule=ToyData(), ckpt_path=tmp_path / "a.ckpt", weights_only=False)
    assert trainer.global_step == 4
    assert "keeps its own" in capsys.readouterr().out


def test_smoothing_is_the_weighted_mean_of_all_before() -> None:
    losses = np.random.default_rng(0).random(7)
    for t, value in enumerate(smoothed(losses.tolist(), 0.8), 1):
        weights = 0.8 ** np.arange(t)[::-1]
        assert value == pytest.approx(np.average(losses[:t], weights=weights))


def test_minimum_and_steepest_descent_of_a_known_curve() -> None:
    """Of 1 - exp(-(x - 2)^2 / 2), least at x = 2, steepest at x = 1."""
    x = np.linspace(-3, 4, 701)
    losses = 1 - np.exp(-((x - 2) ** 2) / 2)
    found = suggestion(Curve(10.0**x, losses, losses), skip=10)
    assert found is not None
    assert np.log10(found.lowest) == pytest.approx(2)
    assert np.log10(found.steepest) == pytest.approx(1, abs=0.011)
    assert suggested(found) == 10


@pytest.mark.parametrize("losses", [np.linspace(1, 2, 30), np.ones(3), np.empty(0)])
def test_a_loss_that_never_falls_suggests_nothing(losses: Any) -> None:
    assert suggestion(Curve(np.geomspace(1, 2, len(losses)), losses, losses), skip=5) is None


def test_a_loss_that_is_no_number_from_the_start_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = ToyModule()
    torch.nn.init.constant_(module.model.encoder.norm.weight, torch.nan)
    toy_trainer(tmp_path, callbacks=[FindLearningRate()]).fit(module, datamodule=ToyData())
    assert "no number" in capsys.readouterr().out
    assert rows(tmp_path) == []


def test_nothing_to_apply_is_refused(tmp_path: Path) -> None:
    finder = FindLearningRate(1e-12, 2e-12, 15, then="apply", smoothing=0.0)
    module = ToyModule()
    module.optimizer = lambda groups: torch.optim.SGD(groups, lr=1.0, maximize=True)
    data = ToyData(windows([[("abc", "abc")]], 1))
    with pytest.raises(UserError, match="no learning rate to apply"):
        toy_trainer(tmp_path, callbacks=[finder]).fit(module, datamodule=data)


def test_an_empty_range_or_too_few_steps_are_refused() -> None:
    with pytest.raises(UserError, match=r"min_lr=1\.0 and max_lr=0\.1"):
        FindLearningRate(1.0, 0.1)
    with pytest.raises(UserError, match="num_steps=9: it must be 10 or more"):
        FindLearningRate(num_steps=9, smoothing=0.8)


class Recording(torch.optim.SGD):
    """Keeps the learning rate of each step."""

    rates: ClassVar[list[float]] = []

    def step(self, closure: Any = None) -> Any:
        self.rates.append(self.param_groups[0]["lr"])
        return super().step(closure)


def fit_with_finder(folder: str, batches: list[Batch], **options: Any) -> None:
    module = ToyModule()
    module.optimizer = lambda groups: Recording(groups, lr=7.0, momentum=0.9)
    finder = FindLearningRate(1e-3, 1.0, 6, smoothing=0.5, divergence=100)
    settings = {"callbacks": [finder], "gradient_clip_val": 0.5, "use_distributed_sampler": False, **options}
    toy_trainer(folder, **settings).fit(module, datamodule=ToyData(batches))


def on_a_rank(rank: int, folder: str) -> list[float]:
    """One of two processes, which reads every other micro-batch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCAL_RANK", str(rank))
        patch.setenv("NODE_RANK", "0")
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
        try:
            strategy = DDPStrategy(process_group_backend="gloo")
            fit_with_finder(folder, windows(BATCHES, 2)[rank::2], strategy=strategy, devices=2)
        finally:
            torch.distributed.destroy_process_group()
    return Recording.rates


def second_rank(_: int, folder: str) -> None:
    Path(folder, "rates").write_text(json.dumps(on_a_rank(1, folder)))


def test_two_ranks_take_the_same_steps_as_one_process_that_accumulates(tmp_path: Path) -> None:
    other = torch.multiprocessing.spawn(second_rank, (str(tmp_path),), nprocs=1, join=False)
    rates = [*on_a_rank(0, str(tmp_path))]
    other.join()
    assert json.loads((tmp_path / "rates").read_text()) == rates
    alone = tmp_path / "alone"
    fit_with_finder(str(alone), windows(BATCHES, 2), accumulate_grad_batches=2)
    for ours, theirs in zip(rows(tmp_path), rows(alone), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("kind", [FSDPStrategy, ModelParallelStrategy])
def test_sharded_weights_are_refused(kind: type[Strategy]) -> None:
    trainer = SimpleNamespace(strategy=kind())
    with pytest.raises(UserError, match=rf"trainer.strategy={kind.__name__} shards the weights"):
        rehearsal(trainer, ToyModule()).__enter__()
