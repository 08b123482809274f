"""A network of the user's own is checked at the first step, once, and training goes on as if it had not been."""

import logging
import random
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn

from s2s_lightning import EOS, PAD
from s2s_lightning.callbacks import first_batch
from s2s_lightning.callbacks.first_batch import CheckFirstBatch, warning
from s2s_lightning.data import Generated, Seq2SeqData
from s2s_lightning.families import Hybrid, Pointer, Transformer
from s2s_lightning.model import Memory
from s2s_lightning.testing import batch_of, random_pairs
from s2s_lightning.testing.first_batch import check_first_batch, short_rows
from s2s_lightning.training.module import Seq2SeqModule
from tests.testing import broken


class Unruly(broken.Mixing):
    """It draws in evaluation too, counts its calls, and has buffers and dropout."""

    def __init__(self, d_embedding: int) -> None:
        super().__init__(d_embedding)
        self.norms = nn.BatchNorm1d(d_embedding)
        self.dropout = nn.Dropout(0.3)
        self.calls = 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        self.calls += 1
        self.seen.add_(1)
        noise = random.random() + np.random.rand() + torch.rand(()).item() + self.calls
        x = self.norms(x.transpose(1, 2)).transpose(1, 2)
        return super().forward(self.dropout(x) * noise, padding)


class Dropping(broken.Mixing):
    """It drops half of what it reads while it trains."""

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        return super().forward(nn.functional.dropout(x, 0.5, self.training), padding)


def fitted(folder: Path, encoder: type[nn.Module], **options: Any) -> Seq2SeqModule:
    """A module after three steps of a plain Trainer."""
    lightning.seed_everything(1, verbose=False)
    data = Seq2SeqData(Generated("copy", max_length=6, symbols=6, train_pairs=60, val_pairs=4), max_tokens=64)
    sizes = (data.src_vocab_size, data.tgt_vocab_size)
    parts: dict[str, Any] = {"encoder": encoder, "decoder": broken.Attending}
    module = Hybrid(*sizes, d_embedding=8, **parts) if encoder is not Transformer else small(*sizes)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"accelerator": "cpu", "enable_checkpointing": False, "max_steps": 3, "limit_val_batches": 0}
    lightning.Trainer(**{**quiet, "default_root_dir": folder, **options}).fit(module, datamodule=data)
    return module


def small(src: int, tgt: int | None) -> Transformer:
    return Transformer(src, tgt, d_model=8, num_heads=2, d_ff=8, num_encoder_layers=1, num_decoder_layers=1)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.getMessage().startswith("warning: ")]


@pytest.mark.parametrize(("part", "law"), [(broken.FNet, "padding"), (broken.AcrossRows, "company")])
def test_a_broken_law_is_one_warning_with_numbers_and_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, part: type[nn.Module], law: str
) -> None:
    with caplog.at_level(logging.INFO):
        fitted(tmp_path, part)
    (line,) = said(caplog)
    assert line.startswith(f"warning: the network breaks the law of {law}: ")
    assert "of row" in line
    assert line.endswith(f"s2s_lightning check tests.testing.broken.{part.__name__}")
    assert "\n" not in line


@pytest.mark.parametrize("part", [broken.Mixing, Dropping, Transformer])
def test_nothing_is_said_of_a_correct_network(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, part: type[nn.Module]
) -> None:
    with caplog.at_level(logging.INFO):
        fitted(tmp_path, part)
    assert said(caplog) == []


@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_is_the_same_to_the_bit_with_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    checked = fitted(tmp_path, Unruly, accumulate_grad_batches=accumulate)
    monkeypatch.setattr(CheckFirstBatch, "on_train_batch_start", lambda *_: None)
    plain = fitted(tmp_path, Unruly, accumulate_grad_batches=accumulate)
    assert checked.model.encoder.calls == plain.model.encoder.calls == 3 * accumulate  # type: ignore[union-attr]
    for (name, a), b in zip(checked.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


class Reached(Exception):  # noqa: N818
    """The check was reached."""


def reach(*_: Any) -> None:
    raise Reached


class Facts:
    """What the callback asks a trainer."""

    def __init__(self, strategy: object, rank: int = 0) -> None:
        self.strategy, self.is_global_zero = strategy, rank == 0


def is_checked(module: Seq2SeqModule, strategy: object = None, rank: int = 0) -> bool:
    """True if the callback checks a module at its first step; never at its second."""
    callback, batch = CheckFirstBatch(), batch_of(random_pairs(3))
    try:
        callback.on_train_batch_start(Facts(strategy, rank), module, batch, 0)  # type: ignore[arg-type]
    except Reached:
        callback.on_train_batch_start(Facts(strategy, rank), module, batch, 1)  # type: ignore[arg-type]
        return True
    return False


def test_who_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_batch, "warning", reach)
    own = Hybrid(17, 13, d_embedding=8, encoder=broken.Mixing, decoder=broken.Attending)
    assert is_checked(own)
    assert is_checked(own, DDPStrategy())
    assert not is_checked(own, DDPStrategy(), rank=1)
    assert not is_checked(own, ModelParallelStrategy())
    assert not is_checked(small(17, 13))


def test_short_rows_are_unequal_and_end_as_the_contract_says() -> None:
    few = short_rows(batch_of(random_pairs(9, longest=40), padding=50))
    assert (few.tgt_out != PAD).sum(1).max() <= 12
    assert len({int(n) for n in (few.tgt_out != PAD).sum(1)}) > 1
    lengths = (~few.src_padding).sum(1)
    assert (few.src.gather(1, lengths.unsqueeze(1) - 1) == EOS).all()
    assert few.src.shape[1] == lengths.max()


def test_a_network_that_copies_keeps_the_laws_on_ids_beyond_its_vocabulary() -> None:
    batch = batch_of(random_pairs(5, longest=20), padding=22)
    places = torch.arange(22).expand_as(batch.src)
    batch = batch._replace(src_copy=torch.where(batch.src_padding, PAD, 13 + places))
    model = Pointer(17, 13, d_embedding=6, d_model=8, d_score=5).model.eval()
    assert check_first_batch(model, batch._replace(tgt_out=torch.where(batch.tgt_out == 5, 13, batch.tgt_out))) == []


def test_a_network_that_cannot_run_a_small_batch_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: nn.Module, x: Tensor, padding: Tensor) -> Tensor:
        raise ZeroDivisionError("a batch of 3")

    monkeypatch.setattr(broken.Mixing, "context", fails)
    model = Hybrid(17, 13, d_embedding=8, encoder=broken.Mixing, decoder=broken.Attending).model
    found = warning(model, batch_of(random_pairs(3)))
    assert found is not None
    assert "cannot be run in evaluation mode: ZeroDivisionError: a batch of 3 (tests/callbacks/" in found
