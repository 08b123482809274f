"""A plain Lightning Trainer with our module and data module, without the command line (law 34)."""

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

import s2s_lightning
from s2s_lightning.callbacks import Evaluation, Throughput
from s2s_lightning.data import Generated, Seq2SeqData
from s2s_lightning.decoding import Beam
from s2s_lightning.errors import UserError
from s2s_lightning.families import Transformer

QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


def corpus(**sizes: int) -> Generated:
    return Generated(
        "copy", **{"max_length": 4, "symbols": 6, "train_pairs": 120, "val_pairs": 8, "test_pairs": 8, **sizes}
    )


def parts(**sizes: int) -> tuple[Transformer, Seq2SeqData]:
    """The tiny run of the command line's tests."""
    lightning.seed_everything(1, verbose=False)
    data = Seq2SeqData(corpus(**sizes), max_tokens=128)
    layers = {"num_encoder_layers": 1, "num_decoder_layers": 1}
    return Transformer(data.src_vocab_size, data.tgt_vocab_size, d_model=16, num_heads=2, d_ff=32, **layers), data


def plain(root: Path, **options: Any) -> lightning.Trainer:
    defaults = {"enable_checkpointing": False, "max_steps": 4, "default_root_dir": root}
    return lightning.Trainer(**{**QUIET, **defaults, **options})


def test_a_plain_trainer_logs_losses_and_every_metric(tmp_path: Path) -> None:
    model, data = parts()
    trainer = plain(tmp_path, log_every_n_steps=1, callbacks=[EarlyStopping("val/loss")])
    trainer.fit(model, datamodule=data)
    assert {"val/loss", "val/bleu", "val/exact_match", "train/loss", "train/lr"} <= set(trainer.callback_metrics)
    (validated,) = trainer.validate(model, datamodule=data, verbose=False)
    (tested,) = trainer.test(model, datamodule=data, verbose=False)
    assert validated["val/loss"] == trainer.callback_metrics.get("val/loss", validated["val/loss"])
    assert "test/bleu" in tested
    assert len(trainer.predict(model, datamodule=data)) >= 1  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []  # a plain trainer has no folder of ours


def test_nothing_is_logged_twice_beside_callbacks_of_the_user(tmp_path: Path) -> None:
    model, data = parts()
    trainer = plain(tmp_path, callbacks=[Evaluation(), Throughput()])
    for _ in range(2):
        trainer.fit(model, datamodule=data)
        kinds = [type(each) for each in trainer.callbacks]  # type: ignore[attr-defined]
        assert kinds.count(Throughput) == 1
        assert sum(issubclass(kind, Evaluation) for kind in kinds) == 1


def test_batches_without_a_data_module_have_teacher_forced_metrics(tmp_path: Path) -> None:
    model, data = parts()
    trainer = plain(tmp_path)
    trainer.fit(model, data.train_dataloader(), data.val_dataloader())
    assert "val/loss" in trainer.callback_metrics
    assert "val/bleu" not in trainer.callback_metrics


@pytest.mark.parametrize(
    "options",
    [
        {"fast_dev_run": True},
        {"limit_val_batches": 0},
        {"limit_val_batches": 1},
        {"overfit_batches": 1},
        {"inference_mode": False},
        {"barebones": True, "enable_checkpointing": None, "logger": None},
        {"num_sanity_val_steps": 2, "val_check_interval": 2},
        {"accumulate_grad_batches": 2},
    ],
    ids=str,
)
def test_settings_of_lightning_train(tmp_path: Path, options: dict[str, Any]) -> None:
    model, data = parts()
    trainer = plain(tmp_path, **options)
    trainer.fit(model, datamodule=data)
    assert trainer.global_step >= 1


def test_a_corpus_of_training_pairs_alone_trains(tmp_path: Path) -> None:
    model, data = parts(val_pairs=0, test_pairs=0)
    plain(tmp_path).fit(model, datamodule=data)


def test_a_checkpoint_of_lightning_resumes_exactly_and_loads(tmp_path: Path) -> None:
    through, data = parts()
    plain(tmp_path, max_steps=6).fit(through, datamodule=data)
    first, data = parts()
    saving = ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=3)
    plain(tmp_path, max_steps=3, enable_checkpointing=True, callbacks=[saving]).fit(first, datamodule=data)
    second, data = parts()
    plain(tmp_path, max_steps=6).fit(second, datamodule=data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    for name, tensor in through.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    loaded = s2s_lightning.load(tmp_path / "last.ckpt")
    assert len(loaded.generate(["1 2", "3"], Beam(beam_size=2))) == 2


def test_a_data_module_that_has_resumed_begins_anew_with_the_next_fit(tmp_path: Path) -> None:
    model, data = parts()
    trainer = plain(tmp_path, max_steps=3)
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(tmp_path / "third.ckpt")
    plain(tmp_path, max_steps=4).fit(model, datamodule=data, ckpt_path=tmp_path / "third.ckpt")
    anew = plain(tmp_path, max_steps=-1, max_epochs=1)
    anew.fit(model, datamodule=data)
    assert anew.global_step == len(data.train_dataloader())


def test_validate_before_fit_and_another_search_by_attribute(tmp_path: Path) -> None:
    model, data = parts()
    trainer = plain(tmp_path)
    (before,) = trainer.validate(model, datamodule=data, verbose=False)
    model.decoding = Beam(beam_size=3, bad_words=["1"])
    trainer.fit(model, datamodule=data)
    (after,) = trainer.validate(model, datamodule=data, verbose=False)
    assert after["val/loss"] != before["val/loss"]


def test_metrics_reach_loggers_of_lightning(tmp_path: Path) -> None:
    model, data = parts()
    logger = CSVLogger(tmp_path, name="", version="")
    plain(tmp_path, logger=logger, log_every_n_steps=1).fit(model, datamodule=data)
    assert {"train/loss", "val/bleu"} <= set((tmp_path / "metrics.csv").read_text().splitlines()[0].split(","))


def test_a_data_module_alone_prepares_and_gives_batches() -> None:
    data = Seq2SeqData(corpus(), max_tokens=128)
    data.prepare_data()
    data.setup()
    assert next(iter(data.train_dataloader())).src.shape[0] > 1
    assert next(iter(data.val_dataloader())).rows.tolist()  # type: ignore[union-attr]
    with pytest.raises(UserError, match="must be one of fit"):
        data.setup("train")


def test_the_order_of_pairs_follows_seed_everything() -> None:
    orders = []
    for seed in (3, 3, 4):
        lightning.seed_everything(seed, verbose=False)
        loader = Seq2SeqData(corpus(), max_tokens=128).train_dataloader()
        orders.append([batch.rows.tolist() for batch in loader])
    assert orders[0] == orders[1] != orders[2]
