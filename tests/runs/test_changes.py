"""What would make another run of it is refused on resume, all of it at once; the rest acts, and is said."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from s2s_lightning.callbacks import Evaluation
from s2s_lightning.callbacks.checkpointing.checkpoints import BestAndLast
from s2s_lightning.callbacks.checkpointing.new_settings import NewSettings
from s2s_lightning.data import Generated, Seq2SeqData
from s2s_lightning.families import Transformer
from s2s_lightning.model import Batch
from s2s_lightning.training.schedules import Constant, InverseSqrt, Linear, Plateau, Schedule
from tests.cli.conftest import command
from tests.helpers.toy import ToyData, ToyModule, toy_trainer
from tests.runs.runs import StopAt, Stopped, fit, metrics, result, typed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("changes") / "run"
    fit(folder, "--trainer.max_steps", 2)
    return folder


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--model.dropout", 0.1], ["model.dropout=0.1 contradicts the checkpoint's 0.3", "keeps its network;"]),
        (["--data.max_tokens", 99], ["data.max_tokens=99 contradicts the checkpoint's 160", "keeps its batches;"]),
        (["--data.seed", 2, "--seed_everything", 5], ["data.seed=2", "seed_everything=5"]),
        (["--optimizer", "SGD"], ["optimizer.class_path=torch.optim.SGD", "AdamW", "keeps its optimizer;"]),
        (
            ["--trainer.accumulate_grad_batches", 3, "--data.copy", "true"],
            ["grad_batches=3", "copy=True"],
        ),
        (["--data.corpus.train_pairs", 90], ["other content in the split train", "train_pairs: 200 -> 90"]),
        (["--schedule", "Plateau"], ["schedule.class_path", "InverseSqrt -> s2s_lightning.training.Plateau"]),
    ],
)
def test_what_cannot_change_is_refused_with_the_difference(asked: list[object], said: list[str], run: Path) -> None:
    refused = command(*typed(run, *asked))
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 1
    assert all(part in refused.err for part in [*said, "fit --init_from"])


def test_what_can_change_does_and_is_said(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = (run / "config.yaml").read_text()
    fit(run, "--trainer.max_steps", 4, "--optimizer.lr", 0.5, "--data.num_workers", 2)
    changed = [record.message for record in caplog.records if record.message.startswith("changed: ")]
    assert set(changed) == {
        "changed: optimizer.lr: 0.01 -> 0.5", "changed: trainer.max_steps: 2 -> 4", "changed: data.num_workers: 0 -> 2"
    }  # fmt: skip
    assert result(run)["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0.5 * (3 / 5) ** 0.5)
    rates = [float(row["train/lr"]) for row in metrics(run) if "train/lr" in row]
    assert rates == pytest.approx([0.01 * 2 / 3, 0.5 * (3 / 4) ** 0.5])
    assert (run / "config_until_step_2.yaml").read_text() == before


@pytest.mark.parametrize(
    ("first", "then"),
    [(Constant(), Constant()), (InverseSqrt(3), Linear(2)), (Plateau(patience=0), Plateau(factor=0.1, patience=7))],
)
def test_a_changed_rate_and_schedule_are_those_of_a_run_that_always_had_them(
    first: Schedule, then: Schedule, tmp_path: Path
) -> None:
    """But for what a metric has made of them: a plateau's rate has the same ratio to the new peak."""
    rates = []
    for name, schedule, peak, options in (
        ("first", first, 1.0, {"max_steps": 12}),
        ("then", then, 0.25, {"max_steps": 13}),
        ("always", then, 0.25, {"max_steps": 13}),
    ):
        module = ToyModule()
        module.optimizer = lambda groups, peak=peak: torch.optim.SGD(groups, lr=peak, momentum=peak / 2)
        module.schedule = schedule
        path = tmp_path / "first/checkpoints/last.ckpt" if name == "then" else None
        callbacks = [Evaluation(), BestAndLast(), *([NewSettings(True)] if path else [])]
        limits = {"max_epochs": -1, "gradient_clip_val": 1e-30, **options}
        trainer = toy_trainer(tmp_path / name, enable_checkpointing=True, callbacks=callbacks, **limits)
        trainer.fit(module, datamodule=ToyData(), ckpt_path=path, weights_only=False)
        (group,) = trainer.optimizers[0].param_groups
        rates.append((group["lr"], group["momentum"]))
        scheduler = trainer.lr_scheduler_configs[0].scheduler
    _, resumed, always = rates
    assert resumed == always
    assert scheduler.last_epoch == 13


class Seen(Callback):
    """The pairs of each optimizer step that count, epoch by epoch, and the steps after which validation came."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []
        self.validated: list[int] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: object, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        if batch.divisor.isfinite():
            self.rows += [(trainer.current_epoch, row) for row in batch.rows.tolist()]

    def on_validation_end(self, trainer: Trainer, pl_module: object) -> None:
        self.validated.append(trainer.current_epoch)


def test_one_rank_goes_on_with_the_epoch_of_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an epoch that two ranks have come two steps into, one sees what they have left, then validates."""
    data = Seq2SeqData(Generated("copy", train_pairs=200, val_pairs=4, test_pairs=1), max_tokens=100)
    rows = {(0, row) for row in range(200)}
    done = set()
    for rank in range(2):
        monkeypatch.setattr(data, "_place", lambda rank=rank: (rank, 2))
        done |= {(0, int(row)) for batch in list(data._train_sampler())[:2] for row in batch.indices}
    monkeypatch.undo()
    model = Transformer(data.src_vocab_size, d_model=16, num_heads=2, d_ff=32)
    options = {"enable_checkpointing": True, "use_distributed_sampler": False, "max_epochs": 2}
    callbacks = [Evaluation(), BestAndLast(every_steps=1), StopAt("on_train_batch_end", 3)]
    with pytest.raises(Stopped):
        toy_trainer(tmp_path / "two", callbacks=callbacks, **options).fit(model, datamodule=data)
    checkpoint = torch.load(tmp_path / "two/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["Seq2SeqData"]["position"] == [0, 2, 1, []]
    checkpoint["Seq2SeqData"]["position"] = [0, 2, 2, []]
    torch.save(checkpoint, tmp_path / "two.ckpt")

    seen = Seen()
    trainer = toy_trainer(tmp_path / "one", callbacks=[Evaluation(), BestAndLast(), seen], **options)
    trainer.fit(model, datamodule=data, ckpt_path=tmp_path / "two.ckpt", weights_only=True)
    assert sorted(seen.rows) == sorted((rows - done) | {(1, row) for _, row in rows})
    assert seen.validated == [0, 1]
