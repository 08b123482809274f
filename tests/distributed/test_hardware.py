"""The overlays of configs/hardware: each says how it is typed, and trains where there is no GPU.

Those of ranks are tried in ``test_command_line`` (ddp_*) and ``test_sharding`` (fsdp).
"""

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import CONFIG, DATA, done
from tests.distributed.jobs import as_nodes, refused
from tests.distributed.ranks import over

HARDWARE = sorted(Path("configs/hardware").glob("*.yaml"))


def line(folder: Path, hardware: str, devices: int) -> list[str]:
    """Two steps by an overlay, on the CPU."""
    (folder / "tiny.yaml").write_text(CONFIG)
    configs = ["--config", str(folder / "tiny.yaml"), "--config", f"configs/hardware/{hardware}.yaml"]
    cpu = ["--trainer.accelerator", "cpu", "--trainer.devices", str(devices), "--trainer.max_steps", "2"]
    return ["fit", *configs, *cpu, "--run", str(folder / hardware)]


def steps(folder: Path, hardware: str) -> int:
    """That a run has made."""
    return int(json.loads((folder / hardware / "val_scores.json").read_text())["step"])


@pytest.mark.parametrize("path", HARDWARE, ids=lambda path: path.stem)
def test_an_overlay_is_about_the_trainer_and_says_how_it_is_typed(path: Path) -> None:
    text = path.read_text()
    assert f"--config configs/hardware/{path.name}" in " ".join(text.replace("#", "").split())
    content = yaml.safe_load(text)
    assert content["trainer"]
    assert f"`{path.name}`" in Path("docs/cluster/hardware.md").read_text()
    strategy = content["trainer"].get("strategy", "auto")
    assert strategy == "auto" or strategy["init_args"]["timeout"]


@pytest.mark.parametrize("hardware", ["cpu", "gpu"])
def test_one_process_trains(tmp_path: Path, hardware: str) -> None:
    done(*line(tmp_path, hardware, 1))
    assert steps(tmp_path, hardware) == 2


def test_machines_train_together(tmp_path: Path) -> None:
    over(2, tmp_path, as_nodes, line(tmp_path, "multinode", 1))
    assert steps(tmp_path, "multinode") == 2


def test_float16_on_a_cpu_is_said_to_be_bfloat16(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    done(*line(tmp_path, "cpu", 1), "--trainer.precision", "16-mixed")
    assert "trainer.precision=16-mixed: a CPU does not train in float16, so it is bf16-mixed here" in caplog.text


def test_a_weight_without_a_gradient_is_answered_by_one_line(tmp_path: Path) -> None:
    given = [*line(tmp_path, "ddp_bf16", 1), "--trainer.max_steps", "3"]
    (tmp_path / "tiny.yaml").write_text(f"model: tests.distributed.jobs.Unused\n{DATA}")
    (answer,) = over(1, tmp_path, refused, given)
    assert "there are weights that the loss does not depend on" in answer
