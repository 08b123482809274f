"""The command line over ranks: a training is that of one process, and so is every number and file of an evaluation."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.conftest import CONFIG, done
from tests.distributed.jobs import commands
from tests.distributed.ranks import over

ON_RANKS = ("--config", "configs/hardware/ddp_bf16.yaml", "--trainer.accelerator", "cpu")
IN_FLOAT16 = ("--config", "configs/hardware/ddp_fp16.yaml", "--trainer.accelerator", "cpu", "--trainer.devices", "2")
EXACT = ("--trainer.precision", "64-true")
WHOLE_EPOCH = (
    "--data.max_tokens",
    "1000",
    "--data.batch_size",
    "30",
    "--model.dropout",
    "0",
    "--trainer.max_epochs",
    "3",
)
"""Of the 120 pairs, so that a step sees all of them, whoever reads which."""

SPLITS = {"all": (), "fewer than ranks": ("--data.corpus.val_pairs", "2", "--data.corpus.test_pairs", "2")}


class Place:
    """A folder with a configuration and what was made of it, in one process and over ranks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "tiny.yaml"
        self.config.write_text(CONFIG.replace("max_steps: 4, ", ""))
        done("fit", *self.fit("one", "--trainer.accumulate_grad_batches", "4"))
        done("fit", *self.fit("start", "--trainer.max_epochs", "1"))
        for line in self.evaluations(1):
            done(*line)

    def fit(self, name: str, *options: str) -> list[str]:
        """A training of one step an epoch."""
        place = ("--config", str(self.config), "--run", str(self.root / name))
        return [*place, *WHOLE_EPOCH, *options, *EXACT]

    def evaluations(self, world_size: int) -> list[list[str]]:
        """Of the checkpoint of the training in one process."""
        lines = []
        for split, few in SPLITS.items():
            root = ("--trainer.default_root_dir", str(self.root / f"{split} {world_size}"))
            ranks = (*ON_RANKS, "--trainer.devices", str(world_size)) if world_size > 1 else ()
            checkpoint = ("--ckpt_path", str(self.last("one")))
            lines += [[command, *checkpoint, *ranks, *EXACT, *root, *few] for command in ("validate", "test")]
        return lines

    def last(self, name: str) -> Path:
        return self.root / name / "checkpoints" / "last.ckpt"

    def weights(self, name: str) -> torch.Tensor:
        state = torch.load(self.last(name), weights_only=True)["state_dict"]
        return torch.cat([state[key].flatten() for key in sorted(state)])

    @cache  # noqa: B019  of as many as the tests
    def on_ranks(self, world_size: int) -> None:
        """Everything that as many ranks do, in one set of processes."""
        folder = self.root / f"ranks {world_size}"
        folder.mkdir()
        half = [
            "fit",
            "--config",
            str(self.config),
            "--run",
            str(self.root / "half"),
            *IN_FLOAT16,
            "--trainer.max_steps",
            "2",
        ]
        trained = [
            "fit",
            *self.fit("two", *ON_RANKS, "--trainer.devices", "2", "--trainer.accumulate_grad_batches", "2"),
        ]
        over(world_size, folder, commands, *([trained, half] if world_size == 2 else []), *self.evaluations(world_size))

    def read(self, split: str, world_size: int, name: str) -> str:
        """A file of an evaluation."""
        (path,) = (self.root / f"{split} {world_size}").glob(f"*/*/{name}")
        return path.read_text()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


def test_two_ranks_train_what_one_process_trains_with_twice_the_accumulation(place: Place) -> None:
    place.on_ranks(2)
    start, one, two = map(place.weights, ("start", "one", "two"))
    assert (one - start).abs().max() > 1e-3
    torch.testing.assert_close(one, two, rtol=0, atol=1e-9)


def test_the_overlay_of_float16_trains_in_bfloat16_on_cpus(place: Place) -> None:
    place.on_ranks(2)
    assert json.loads((place.root / "half" / "val_scores.json").read_text())["step"] == 2


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("split", SPLITS)
def test_metrics_and_files_of_an_evaluation_are_those_of_one_process(place: Place, split: str, world_size: int) -> None:
    place.on_ranks(world_size)
    for name in ("val_scores.json", "test_scores.json"):
        one, other = (json.loads(place.read(split, ranks, name)) for ranks in (1, world_size))
        assert rounded(one) == rounded(other)
    for name in ("predictions.txt", "samples.md"):
        assert place.read(split, 1, name) == place.read(split, world_size, name)
    for name in ("predictions.jsonl", "samples.jsonl"):
        one, other = (map(json.loads, place.read(split, ranks, name).splitlines()) for ranks in (1, world_size))
        assert rounded(list(one)) == rounded(list(other))


def rounded(content: Any) -> Any:
    """What comes from the network without its last digits, which depend on how many sentences make a batch."""
    if isinstance(content, dict):
        return {
            key: float(f"{value:.10g}") if key in ("log_prob", "score") and isinstance(value, float) else rounded(value)
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [rounded(part) for part in content]
    return content
