"""Seq2SeqModule: gradients of the mean over the effective batch, whatever the micro-batches (law 14)."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor

import s2s_lightning
from s2s_lightning import PAD
from s2s_lightning.decoding import Beam
from s2s_lightning.errors import UserError
from s2s_lightning.families import SRU
from s2s_lightning.model import Batch
from s2s_lightning.objectives import LabelSmoothedCrossEntropy
from s2s_lightning.training import Linear
from s2s_lightning.training.module import decay_groups
from tests.helpers.toy import ToyData, ToyModule, toy_batch, toy_network, toy_trainer, toy_words, windows

WORDS = [(word, word[::-1]) for word in toy_words(13, seed=3)]


class Gradients(Callback):
    """The gradients of each optimizer step, before clipping."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:  # type: ignore[no-untyped-def]
        self.steps.append(torch.cat([p.grad.flatten().clone() for p in pl_module.parameters()]))


def cut(sizes: Sequence[int]) -> list[list[tuple[str, str]]]:
    """WORDS in batches of these sizes."""
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    return [WORDS[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def gradients(folder: Path, batches: list[Batch], accumulate: int) -> list[Tensor]:
    """Of each step of an epoch, from a real trainer with clipping on."""
    module, seen = ToyModule(), Gradients()
    module.optimizer = lambda groups: torch.optim.SGD(groups, lr=0.3)
    options = {"accumulate_grad_batches": accumulate, "gradient_clip_val": 0.1, "limit_val_batches": 0}
    toy_trainer(folder, callbacks=[seen], **options).fit(module, datamodule=ToyData(batches))
    return seen.steps


@pytest.mark.parametrize("micro", [[1, 5, 2, 3, 1, 1], [1, 1, 6, 2, 3]], ids=["full windows", "short last window"])
def test_unequal_micro_batches_have_the_gradients_of_one_big_batch(tmp_path: Path, micro: list[int]) -> None:
    big = [sum(micro[:3]), sum(micro[3:])]
    expected = gradients(tmp_path, windows(cut(big), 1), accumulate=1)
    found = gradients(tmp_path, windows(cut(micro), 3), accumulate=3)
    assert len(found) == len(expected) == 2
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-10)


def test_the_gradient_is_that_of_the_mean_over_tokens(tmp_path: Path) -> None:
    (found,) = gradients(tmp_path, windows([WORDS], 1), accumulate=1)
    module, batch = ToyModule(), toy_batch(WORDS)
    total, tokens, _ = LabelSmoothedCrossEntropy()(module.model, batch)
    (total / tokens).backward()
    expected = torch.cat([p.grad.flatten() for p in module.parameters()])
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)


def test_weight_decay_spares_biases_and_norms() -> None:
    model = toy_network()
    decayed, spared = decay_groups(model)
    optimizer = torch.optim.AdamW([decayed, spared], lr=0.1, weight_decay=0.5)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    shrunk = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert shrunk == {"src_embedding.weight", "tgt_embedding.weight", "decoder.mix.weight"}
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))


def test_frozen_parameters_are_not_optimized() -> None:
    model = toy_network()
    model.encoder.requires_grad_(False)
    optimized = {p for group in decay_groups(model) for p in group["params"]}
    assert optimized == set(model.parameters()) - set(model.encoder.parameters())


@pytest.mark.parametrize("piece", [1, 3, 100])
def test_token_scores_are_those_of_all_the_logits_at_once(piece: int) -> None:
    module, batch = ToyModule(), toy_batch(WORDS)
    scores = module.token_scores(batch, piece=piece)
    log_probs = module.model.log_probs(module.model.teacher_force(batch))
    for row, target in enumerate(batch.tgt_out):
        target = target[target != PAD]
        real = log_probs[row, : len(target)]
        assert torch.allclose(scores["nll"][row], -real[range(len(target)), target].sum(), atol=1e-10)
        assert scores["correct"][row] == (real.argmax(-1) == target).sum()
        assert scores["tokens"][row] == len(target)


def test_what_is_chosen_at_test_time_is_no_hyperparameter() -> None:
    assert not {"objective", "decoding", "optimizer", "schedule", "model"} & set(ToyModule().hparams)


@pytest.mark.parametrize("optimizer", [torch.optim.LBFGS, torch.optim.Rprop, torch.optim.Adafactor])
def test_optimizers_without_groups_or_weight_decay_train(
    tmp_path: Path, optimizer: Callable[..., torch.optim.Optimizer]
) -> None:
    module = ToyModule()
    module.optimizer = partial(optimizer, lr=0.01)
    before = module.model.readout.weight.clone()
    toy_trainer(tmp_path, limit_val_batches=0, max_steps=2).fit(module, datamodule=ToyData())
    assert not torch.equal(before, module.model.readout.weight)


@pytest.mark.parametrize("optimizer", [torch.optim.Muon, partial(torch.optim.SGD, lr=-1.0)], ids=["Muon", "SGD"])
def test_an_optimizer_that_cannot_take_the_parameters_says_so(
    tmp_path: Path, optimizer: Callable[..., torch.optim.Optimizer]
) -> None:
    module = ToyModule()
    module.optimizer = optimizer
    with pytest.raises(UserError, match="optimizer"):
        toy_trainer(tmp_path).fit(module, datamodule=ToyData())


def test_a_fused_optimizer_trains_in_mixed_precision_with_clipping(tmp_path: Path) -> None:
    module = ToyModule().float()
    module.optimizer = partial(torch.optim.AdamW, lr=0.01, fused=True)
    trainer = toy_trainer(tmp_path, limit_val_batches=0, max_steps=2, precision="bf16-mixed", gradient_clip_val=1.0)
    trainer.fit(module, datamodule=ToyData())
    assert trainer.global_step == 2


def test_vectors_that_are_stacked_in_one_tensor_do_not_decay() -> None:
    model = SRU(9, 9, d_model=16, num_heads=2, num_encoder_layers=1, num_decoder_layers=1).model
    decayed = {id(p) for p in decay_groups(model)[0]["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in decayed}
    assert not [name for name in names if name.endswith((".v", "bias"))]
    assert [name for name in names if name.endswith("linear.weight")]


def test_padding_is_never_a_correct_token() -> None:
    module = ToyModule()
    with torch.no_grad():
        module.model.readout.bias[PAD] = 1e9  # which is what the network says everywhere
    scores = module.token_scores(toy_batch([("abc", "abcdefg"), ("a", "a")]))
    assert scores["tokens"].tolist() == [8, 2]
    assert scores["correct"].tolist() == [0, 0]


def test_gradients_are_clipped_at_one_unless_told_otherwise(tmp_path: Path) -> None:
    """The step of plain gradient descent at learning rate 1 is as long as the clipped gradient."""
    lengths = []
    for option in ({}, {"gradient_clip_val": 0.5}):
        module = ToyModule()
        module.optimizer = lambda groups: torch.optim.SGD(groups, lr=1.0)
        module.objective = Huge()
        before = torch.cat([p.detach().flatten().clone() for p in module.parameters()])
        options = {"max_steps": 1, "limit_val_batches": 0, "enable_progress_bar": False, "accelerator": "cpu"}
        s2s_lightning.trainer(tmp_path / str(len(lengths)), logger=False, **options, **option).fit(
            module, datamodule=ToyData()
        )
        after = torch.cat([p.detach().flatten() for p in module.parameters()])
        lengths.append((after - before).norm().item())
    assert lengths == pytest.approx([1.0, 0.5], rel=1e-5)


class Huge(LabelSmoothedCrossEntropy):
    """A loss with gradients that must be clipped."""

    def __call__(self, *args: Any) -> Any:
        result = super().__call__(*args)
        return result._replace(sum=1e6 * result.sum)


def test_a_module_is_configured_with_its_parts_and_keeps_the_others() -> None:
    module, objective, decoding = ToyModule(), LabelSmoothedCrossEntropy(0.3), Beam(2)
    optimizer, schedule = partial(torch.optim.SGD, lr=0.1), Linear()
    before = module.schedule
    assert module.configure(objective=objective, decoding=decoding, optimizer=optimizer) is module
    assert (module.objective, module.decoding, module.optimizer) == (objective, decoding, optimizer)
    assert module.schedule is before
    assert module.configure(schedule=schedule).schedule is schedule
    assert module.objective is objective
