"""FSDP2: the same training as DDP's, in checkpoints that either goes on with."""

import json
from pathlib import Path

import pytest
import torch

from s2s_lightning import load
from tests.cli.conftest import CONFIG, command
from tests.distributed.jobs import Trained, sharding
from tests.distributed.ranks import over

FAMILIES = ["transformer", "modern", "lstm", "pointer"]
"""Attention, a tied readout, torch's own recurrent layers, a readout that copies."""

ON_CPU = ("--trainer.accelerator", "cpu", "--trainer.devices", "2")


class Trainings:
    """What two ranks have trained, in one set of processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "tiny.yaml").write_text(CONFIG)
        lines = [self.fit(how, f"4 by {how}") for how in ("fsdp", "ddp_bf16")]
        for how, start in (("fsdp", "ddp_bf16"), ("ddp_bf16", "fsdp"), ("ddp_bf16", "ddp_bf16")):
            more = ("--ckpt_path", str(self.last(f"4 by {start}")), "--trainer.max_steps", "6")
            lines.append(self.fit(how, f"2 by {how} after {start}", *more))
        evaluated = ["--config", "configs/hardware/fsdp.yaml", *ON_CPU, "--trainer.precision", "32-true"]
        place = ["--ckpt_path", str(self.last("4 by ddp_bf16")), "--trainer.default_root_dir", str(root / "validated")]
        lines.append(["validate", *evaluated, *place])
        self.ranks: list[dict[str, dict[str, Trained]]] = over(2, root, sharding, str(root), FAMILIES, lines)

    def fit(self, hardware: str, name: str, *options: str) -> list[str]:
        """By an overlay, in float32, with dropout off and one matrix for embeddings and readout."""
        configs = ("--config", str(self.root / "tiny.yaml"), "--config", f"configs/hardware/{hardware}.yaml")
        model = () if options else ("--model.dropout", "0", "--model.tie_embeddings", "all")
        return [
            "fit",
            *configs,
            *ON_CPU,
            *model,
            "--trainer.precision",
            "32-true",
            "--run",
            str(self.root / name),
            *options,
        ]

    def last(self, name: str) -> Path:
        return self.root / name / "checkpoints" / "last.ckpt"

    def weights(self, name: str) -> torch.Tensor:
        state = torch.load(self.last(name), weights_only=True)["state_dict"]
        return torch.cat([state[key].flatten() for key in sorted(state)])


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    return Trainings(tmp_path_factory.mktemp("sharding"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sharded_network_learns_and_decodes_as_a_whole_one(trainings: Trainings, family: str) -> None:
    for rank in trainings.ranks:
        torch.testing.assert_close(rank[family]["fsdp"].weights, rank[family]["ddp"].weights, rtol=0, atol=1e-6)
        assert rank[family]["fsdp"].hypotheses == rank[family]["ddp"].hypotheses
    steps = [sum(len(tokens) + 1 for tokens in rank[family]["fsdp"].hypotheses.values()) for rank in trainings.ranks]
    assert len(set(steps)) > 1  # ranks search for unequally long, and none waits for another


def test_a_checkpoint_of_either_is_gone_on_with_by_the_other(trainings: Trainings) -> None:
    one, *others = [
        trainings.weights(name)
        for name in ("2 by ddp_bf16 after ddp_bf16", "2 by fsdp after ddp_bf16", "2 by ddp_bf16 after fsdp")
    ]
    assert (one - trainings.weights("4 by ddp_bf16")).abs().max() > 1e-3
    for other in others:
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_sharded_checkpoint_generates(trainings: Trainings) -> None:
    sharded, whole = (load(trainings.last(f"4 by {how}")) for how in ("fsdp", "ddp_bf16"))
    assert sharded.generate(["1 2 3", "4"]) == whole.generate(["1 2 3", "4"])
    assert sharded.module.model.readout.weight is sharded.module.model.tgt_embedding.weight


def test_an_evaluation_alone_is_that_of_the_training(trainings: Trainings) -> None:
    (alone,) = (trainings.root / "validated").glob("*/*/val_scores.json")
    in_training = trainings.root / "4 by ddp_bf16" / "val_scores.json"
    found, expected = (json.loads(path.read_text())["scores"]["loss"]["value"] for path in (alone, in_training))
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("callback", ["EMA", "FindLearningRate", "FindBatchSize", "GradientFlow"])
def test_what_needs_whole_weights_is_refused(tmp_path: Path, callback: str) -> None:
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    line = [
        "--config",
        tmp_path / "tiny.yaml",
        "--config",
        "configs/hardware/fsdp.yaml",
        "--trainer.accelerator",
        "cpu",
    ]
    where = ["--trainer.devices", "1", "--run", tmp_path / "run"]
    result = command("fit", *line, *where, "--trainer.precision", "32-true", "--trainer.callbacks+", callback)
    assert result.code == 2
    assert f"error: {callback} needs the weights as a whole" in result.err
