"""Law 14 where the accumulation changes in the middle of a run: exact, or refused."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.utils.data import DistributedSampler

from s2s_lightning.callbacks import Evaluation
from s2s_lightning.callbacks.checkpointing.checkpoints import BestAndLast
from s2s_lightning.data import Generated, Seq2SeqData
from s2s_lightning.errors import UserError
from s2s_lightning.families import Transformer
from s2s_lightning.model import Batch
from s2s_lightning.testing import batch_of
from s2s_lightning.training.schedules import Linear
from tests.distributed.jobs import constant_of, difference, real
from tests.helpers.toy import toy_trainer
from tests.runs.runs import StopAt, Stopped


def data(pairs: int = 26) -> Seq2SeqData:
    """Seven batches of unequal lengths."""
    return Seq2SeqData(Generated("copy", max_length=9, train_pairs=pairs, val_pairs=4, test_pairs=4), batch_size=4)


def network(corpus: Seq2SeqData) -> Transformer:
    torch.manual_seed(0)
    sizes = {"d_model": 16, "num_heads": 2, "d_ff": 32, "num_encoder_layers": 1, "num_decoder_layers": 1}
    module = Transformer(corpus.src_vocab_size, dropout=0.0, **sizes)  # type: ignore[arg-type]
    module.optimizer = partial(torch.optim.SGD, lr=0.1)
    return module.double()


class AgainstOneBatch(Callback):
    """Keeps, of each optimizer step, its micro-batches and how far its gradient is from that of one batch of all."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, float]] = []
        self.pairs: list[tuple[list[int], list[int]]] = []
        self.batches = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self.batches += 1
        self.pairs += [(real(src), real(tgt)) for src, tgt in zip(batch.src, batch.tgt_out, strict=True)]

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        error = difference(pl_module, batch_of(self.pairs), constant_of(trainer))
        self.steps.append((trainer.current_epoch, self.batches, error))
        self.pairs, self.batches = [], 0


def fit(folder: Path, *callbacks: Callback, corpus: Seq2SeqData | None = None, **options: Any) -> AgainstOneBatch:
    watch, corpus = AgainstOneBatch(), corpus or data()
    schedule = GradientAccumulationScheduler({0: 1, 1: 3, 2: 2})
    path = options.pop("ckpt_path", None)
    settings = {"max_epochs": 3, "precision": "64-true", **options}
    trainer = toy_trainer(folder, callbacks=[schedule, watch, *callbacks], **settings)
    trainer.fit(network(corpus), datamodule=corpus, ckpt_path=path, weights_only=True)
    return watch


def test_gradients_follow_a_scheduled_accumulation_in_every_epoch(tmp_path: Path) -> None:
    watch = fit(tmp_path)
    windows = {0: [1] * 7, 1: [3, 3, 1], 2: [2, 2, 2, 1]}
    assert [(epoch, size) for epoch, size, _ in watch.steps] == [(e, n) for e in windows for n in windows[e]]
    assert max(error for *_, error in watch.steps) < 1e-10


def test_a_scheduled_accumulation_goes_on_in_the_middle_of_its_epoch(tmp_path: Path) -> None:
    callbacks = [Evaluation(), BestAndLast(every_steps=1)]
    with pytest.raises(Stopped):
        fit(tmp_path / "a", *callbacks, StopAt("on_train_batch_end", 12), enable_checkpointing=True)
    last = tmp_path / "a/checkpoints/last.ckpt"
    resumed = fit(tmp_path / "b", Evaluation(), BestAndLast(), enable_checkpointing=True, ckpt_path=last)
    assert [size for _, size, _ in resumed.steps] == [3, 1, 2, 2, 2, 1]
    assert max(error for *_, error in resumed.steps) < 1e-10


def test_a_schedule_that_ends_with_the_run_counts_the_steps_of_a_scheduled_accumulation(tmp_path: Path) -> None:
    corpus = data()
    module = network(corpus)
    module.schedule = Linear(0)
    callbacks = [GradientAccumulationScheduler({0: 1, 1: 3})]
    trainer = toy_trainer(tmp_path, max_epochs=2, callbacks=callbacks, precision="64-true")
    trainer.fit(module, datamodule=corpus)
    assert trainer.global_step == 10
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.0


class SetTo3(Callback):
    """Changes the accumulation by hand."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.accumulate_grad_batches = 3


def test_an_accumulation_that_the_batches_were_not_counted_for_is_refused(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, callbacks=[SetTo3()], precision="64-true")
    with pytest.raises(UserError, match=r"counted for accumulate_grad_batches=1, but the trainer has 3"):
        trainer.fit(network(data()), datamodule=data())
    trainer = toy_trainer(tmp_path, accumulate_grad_batches=2, precision="64-true")
    with pytest.raises(UserError, match="datamodule="):
        trainer.fit(network(data()), train_dataloaders=data().train_dataloader())


def test_fixed_batches_of_overfitting_have_the_accumulation_of_each_epoch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="overfit_batches"):
        fit(tmp_path, overfit_batches=4)


@pytest.mark.parametrize("overfit", [0.0, 2])
def test_lightning_deals_no_loader_out_to_the_ranks_once_more(overfit: float, tmp_path: Path) -> None:
    corpus = data()
    trainer = toy_trainer(tmp_path, overfit_batches=overfit, precision="64-true")
    trainer.fit(network(corpus), datamodule=corpus)
    loaders = [
        corpus.train_dataloader(),
        corpus.val_dataloader(),
        corpus.test_dataloader(),
        corpus.predict_dataloader(),
    ]
    assert all(isinstance(loader.sampler, DistributedSampler) for loader in loaders)  # type: ignore[union-attr]
