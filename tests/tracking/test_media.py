"""Pictures and tables in the loggers that are not W&B's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from matplotlib.figure import Figure
from PIL import Image

from s2s_lightning.callbacks.reports.media import log_picture, log_table, markdown
from tests.cli.conftest import fitted
from tests.tracking.conftest import SHOW


class MLFlowLogger(CSVLogger):
    """In the place of Lightning's, whose package is not needed to test: its client keeps what it is given."""

    run_id = "the run"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.pictures: list[Any] = []
        self.tables: list[Any] = []

    @property
    def experiment(self) -> Any:
        return self

    def log_image(self, run_id: str, image: Any, *, key: str, step: int) -> None:
        self.pictures.append((run_id, image, key, step))

    def log_table(self, run_id: str, data: dict[str, Any], artifact_file: str) -> None:
        self.tables.append((run_id, data, artifact_file))


class Derived(MLFlowLogger):
    """What a user makes of it."""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    figure = Figure(figsize=(2, 1))
    figure.add_axes((0, 0, 1, 1)).imshow(np.eye(4), cmap="Blues")
    figure.savefig(path)
    return path


@pytest.mark.parametrize("kind", [MLFlowLogger, Derived])
def test_mlflow_gets_pixels_and_columns(kind: type[MLFlowLogger], tmp_path: Path, picture: Path) -> None:
    logger = kind(tmp_path)
    trainer = Trainer(logger=[CSVLogger(tmp_path), logger], default_root_dir=tmp_path, accelerator="cpu")
    log_picture(trainer, "picture", picture)
    log_table(trainer, "table", ["a", "b"], [[1, "x"], [2, None]])
    ((run, pixels, key, step),) = logger.pictures
    assert (run, key, step) == ("the run", "picture", 0)
    assert np.array_equal(pixels, np.asarray(Image.open(picture).convert("RGB")))
    assert logger.tables == [("the run", {"step": [0, 0], "a": [1, 2], "b": ["x", None]}, "table.json")]


def test_no_logger_is_no_trouble(tmp_path: Path, picture: Path) -> None:
    trainer = Trainer(logger=False, default_root_dir=tmp_path, accelerator="cpu")
    log_picture(trainer, "picture", picture)
    log_table(trainer, "table", ["a"], [[1]])


def test_text_does_not_break_out_of_its_cell() -> None:
    lines = markdown(["a", "b"], [["x|y", "1\n2"], [None, 3.5]]).splitlines()
    assert lines == ["| a | b |", "| --- | --- |", r"| x\|y | 1 2 |", "|  | 3.5 |"]


def test_tensorboard_shows_metrics_pictures_and_tables_at_their_steps(config: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    chosen = ("--trainer.logger", "TensorBoardLogger", "--trainer.logger.save_dir", tmp_path / "board")
    every = ("--trainer.log_every_n_steps", 2, "--trainer.val_check_interval", 2)
    run = fitted(tmp_path / "runs", "--config", config, SHOW, *chosen, *every)
    (path,) = (tmp_path / "board").glob("**/events.*")
    events = accumulator.EventAccumulator(str(path))
    events.Reload()
    for name in ("train/loss", "val/loss"):
        assert [event.step for event in events.Scalars(name)] == [2, 4]
    assert [event.step for event in events.Images("chart")] == [2, 4]
    assert [event.step for event in events.Tensors("samples/text_summary")] == [2, 4]
    (shown,) = events.Tensors("samples/text_summary")[-1].tensor_proto.string_val
    assert shown.decode().count("\n") == 1 + (run.folder / "samples.jsonl").read_text().count('"step": 4')
