"""Losses and gradients that are not finite, planted where they are to be found."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.multiprocessing import ProcessRaisedException

from s2s_lightning.callbacks import NonFinite, Throughput
from s2s_lightning.callbacks.diagnostics.first_non_finite import locate
from s2s_lightning.callbacks.diagnostics.non_finite import load, replay
from s2s_lightning.callbacks.diagnostics.skipped_steps import SkippedSteps
from s2s_lightning.errors import UserError
from s2s_lightning.model import Batch, Seq2Seq
from tests.callbacks.test_throughput import Recorded
from tests.helpers.toy import ToyData, ToyModule, encode, toy_network, toy_trainer, windows

WORDS = ["ab", "cd", "ef", "gh", "ba", "dc"]
BAD = "h"
"""A letter that poisons what reads it: that of the second pair in the second batch."""


class Poison(nn.Module):
    """Passes x on, but makes rows that are marked not finite, or their gradients."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor, rows: Tensor) -> Tensor:
        mask = rows.view(-1, 1, 1)
        if self.kind == "output":
            return x.masked_fill(mask, torch.nan)
        return x + torch.where(mask, 0 * x, 1).sqrt()  # finite, but at 0 the derivative is infinite, and times 0 NaN


class Poisoned(ToyModule):
    """Whose encoder poisons sources with the letter."""

    def __init__(self, kind: str = "output") -> None:
        super().__init__()
        encoder = self.model.encoder
        encoder.poison = Poison(kind)
        embed, forward, (bad,) = self.model.src_embedding, encoder.forward, encode(BAD)
        rows: list[Tensor] = []
        embed.register_forward_pre_hook(lambda _, args: rows.append((args[0] == bad).any(1)))

        def poisoned(x: Tensor, padding: Tensor) -> Any:
            memory = forward(x, padding)
            states = encoder.poison(memory.states, rows.pop())
            return memory._replace(states=states, values=states)

        encoder.forward = poisoned


def batches(accumulate: int = 1) -> list[Batch]:
    pairs = [(word, word) for word in WORDS]
    made = windows([pairs[:2], pairs[2:4], pairs[4:]], accumulate)
    return [batch._replace(rows=batch.rows + 2 * i) for i, batch in enumerate(made)]


class Data(ToyData):
    """Validation without the letter."""

    def __init__(self, train: list[Batch]) -> None:
        super().__init__(train)
        self.words = ["ab", "cd"] * 5


def fit(folder: Path, module: ToyModule, callback: NonFinite, accumulate: int = 1, **options: Any) -> Any:
    options = {"callbacks": [callback], "accumulate_grad_batches": accumulate, **options}
    trainer = toy_trainer(folder, **options)
    trainer.fit(module, datamodule=Data(batches(accumulate)))
    return trainer


def cross_entropy(model: Seq2Seq, batch: Batch) -> Tensor:
    return model.cross_entropy(model.teacher_force(batch), batch.tgt_out, 0.0).sum


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("output", "the output of encoder.poison is not finite"),
        ("gradient", "the gradient at the output of encoder.norm is not finite, although the loss is"),
    ],
)
def test_module_batch_and_sentence_are_named(tmp_path: Path, kind: str, what: str) -> None:
    with pytest.raises(UserError) as error:
        fit(tmp_path, Poisoned(kind), NonFinite())
    message = str(error.value)
    assert message.startswith(f"loss or gradient not finite at step 2 (epoch 0): {what}; batch 1, training pairs 3: ")
    assert "g h -> g h" in message
    assert "e f" not in message
    assert "\n" not in message


def test_the_first_of_accumulated_batches_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"at step 1 .*; batch 1, training pairs 3:"):
        fit(tmp_path, Poisoned(), NonFinite(), accumulate=3)


def test_weights_are_untouched_when_the_run_stops(tmp_path: Path) -> None:
    module, reference = Poisoned(), Poisoned()
    with pytest.raises(UserError):
        fit(tmp_path, module, NonFinite())
    fit(tmp_path, reference, NonFinite("off"), limit_train_batches=1)
    for one, other in zip(module.parameters(), reference.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_skipped_step_is_one_that_was_never_made(tmp_path: Path) -> None:
    module, reference = Poisoned(), ToyModule()
    trainer = fit(tmp_path, module, NonFinite("skip"), gradient_clip_val=1.0)
    assert trainer.global_step == 3
    others = Data([batch for i, batch in enumerate(batches()) if i != 1])
    toy_trainer(tmp_path, gradient_clip_val=1.0).fit(reference, datamodule=others)
    for one, other in zip(module.parameters(), reference.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("every", [1, 3])
def test_what_is_logged_leaves_out_a_skipped_step_and_counts_it(every: int, tmp_path: Path) -> None:
    logged = Recorded(tmp_path)
    chain = [NonFinite("skip"), Throughput(), SkippedSteps()]
    module = Poisoned()
    module.optimizer = lambda groups: torch.optim.SGD(groups, lr=0.0)
    fit(tmp_path, module, chain[0], callbacks=chain, logger=logged, log_every_n_steps=every, limit_val_batches=0)
    losses = {row["step"]: row["train/loss"] for row in logged.rows if "train/loss" in row}
    skipped = {row["step"]: row["train/skipped_steps"] for row in logged.rows if "train/skipped_steps" in row}
    first, _, third = batches()
    one, other = (module.objective(module.model, batch) for batch in (first, third))
    if every == 3:
        assert losses == pytest.approx({3: ((one.sum + other.sum) / (one.tokens + other.tokens)).item()})
        assert skipped == {3: 1}
    else:  # of step 2 there is nothing to log, and Lightning repeats what it has
        means = [(part.sum / part.tokens).item() for part in (one, other)]
        assert losses == pytest.approx({1: means[0], 2: means[0], 3: means[1]})
        assert skipped == {1: 0, 2: 1, 3: 1}


def test_only_so_many_steps_in_a_row_are_skipped(tmp_path: Path) -> None:
    module = ToyModule()
    with torch.no_grad():
        module.model.decoder.mix.weight[0, 0] = torch.nan
    with pytest.raises(UserError, match=r"weight decoder.mix.weight .* 3 in a row, and max_skipped=2"):
        fit(tmp_path, module, NonFinite("skip", max_skipped=2))


def test_raise_has_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"encoder\.poison"):
        fit(tmp_path, Poisoned(), NonFinite("raise"))


def test_seldom_looks_end_the_run_before_the_validation_and_its_checkpoints(tmp_path: Path) -> None:
    module = Poisoned()
    module.on_validation_start = lambda: pytest.fail("validated")  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"in one of the steps 1 to 3 .*every 1"):
        fit(tmp_path, module, NonFinite(every=100))


def test_an_overflow_that_a_scaler_answers_is_no_fault(tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu")
    module = Poisoned("gradient")
    fit(tmp_path, module, NonFinite(), plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    assert scaler.get_scale() == 2.0**15  # halved once
    assert all(p.isfinite().all() for p in module.parameters())


def test_a_kept_batch_is_found_again(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="kept in "):
        fit(tmp_path, Poisoned(), NonFinite())
    (path,) = tmp_path.glob("non_finite_step_2.ckpt")
    module, batch, *_ = load(path)
    assert isinstance(module, Poisoned)
    assert all(torch.equal(x, y) for x, y in zip(batch[:6], batches()[1][:6], strict=True))
    finding = replay(path)
    assert finding is not None
    assert finding.what == "the output of encoder.poison is not finite"
    assert finding.rows == [1]


def test_a_healthy_run_is_the_same_with_it(tmp_path: Path) -> None:
    module, reference = ToyModule(), ToyModule()
    fit(tmp_path, module, NonFinite())
    fit(tmp_path, reference, NonFinite("off"))
    for one, other in zip(module.parameters(), reference.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not list(tmp_path.glob("non_finite*"))


class OnOneRank(Data):
    """The letter comes to rank 1 alone."""

    def train_dataloader(self) -> Any:
        self.train = self.train if self.trainer.global_rank else [self.train[0]] * 3
        return super().train_dataloader()


class OnRanks(NonFinite):
    """Writes what each rank is about to say, and the weights with which it ends."""

    def _message(self, trainer: Any, pl_module: Any, window: Any) -> str:
        message = super()._message(trainer, pl_module, window)
        (Path(trainer.default_root_dir) / f"message_{trainer.global_rank}").write_text(message)
        trainer.strategy.barrier()  # or the first process to end would end the other
        return message

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        weights = pl_module.model.decoder.mix.weight
        torch.save(weights, Path(trainer.default_root_dir) / f"weights_{trainer.global_rank}")


@pytest.mark.parametrize("action", ["stop", "skip"])
def test_all_ranks_do_alike(tmp_path: Path, action: Any) -> None:
    options = {"strategy": "ddp_fork", "devices": 2, "use_distributed_sampler": False, "limit_val_batches": 0}
    trainer = toy_trainer(tmp_path, callbacks=[OnRanks(action)], **options)
    with pytest.raises(ProcessRaisedException) if action == "stop" else contextlib.nullcontext():
        trainer.fit(Poisoned(), datamodule=OnOneRank(batches()))
    said, told = ((tmp_path / f"message_{rank}").read_text() for rank in (0, 1))
    assert said == told
    assert "the output of encoder.poison is not finite; batch 1 of rank 1, training pairs 3: g h" in said
    if action == "skip":
        one, other = (torch.load(tmp_path / f"weights_{rank}") for rank in (0, 1))
        assert torch.equal(one, other)
        assert one.isfinite().all()


def test_a_loss_that_is_not_finite_of_finite_outputs_is_traced_to_its_sentence() -> None:
    model, (_, batch, _) = toy_network(), batches()

    def loss(batch: Batch) -> Tensor:
        total = model.cross_entropy(model.teacher_force(batch), batch.tgt_out, 0.0).nll
        return (
            total + (batch.src == encode(BAD)[0]).any() * torch.inf
            if bool((batch.src == encode(BAD)[0]).any())
            else total
        )

    finding = locate(model, loss, batch)
    assert finding is not None
    assert finding.what.startswith("the loss is not finite")
    assert finding.rows == [1]


def test_masks_of_minus_infinity_are_no_finding() -> None:
    model, (batch, *_) = toy_network(), batches()
    model.encoder.mask = nn.Threshold(torch.inf, -torch.inf)  # all that it gives is a mask

    def loss(batch: Batch, factor: float = 1.0) -> Tensor:
        model.encoder.mask(batch.divisor.double())
        return factor * cross_entropy(model, batch)

    assert locate(model, loss, batch) is None
    model.decoder.register_forward_hook(lambda *_: _[2]._replace(hidden=_[2].hidden * torch.inf))
    assert locate(model, loss, batch).what == "the output of decoder is not finite"


def test_steps_that_are_not_all_looked_at_cannot_be_skipped() -> None:
    with pytest.raises(UserError, match="every=1"):
        NonFinite("skip", every=5)
