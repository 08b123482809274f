"""The model card of an export."""

from pathlib import Path

import pytest

from tests.cli.conftest import CONFIG, done


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("card")
    (root / "tiny.yaml").write_text(CONFIG)
    done("fit", "--config", root / "tiny.yaml", "--run", root / "run")
    done("test", root / "run", "--trainer.default_root_dir", root / "tests")
    return root / "run"


def test_the_card_has_architecture_data_metrics_command_and_licence(run: Path, tmp_path: Path) -> None:
    done("export", run, "-o", tmp_path / "out", "--license", "apache-2.0")
    text = (tmp_path / "out" / "README.md").read_text()
    for part in (
        'license: "apache-2.0"', "d_model: 16", "Generated", "| val/bleu |", "| test/chrf |", "nrefs:1", "command:",
        "s2s_lightning.load(", "step 4",
    ):  # fmt: skip
        assert part in text, part


def test_a_card_that_the_user_wrote_stays(run: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    done("export", run, "-o", tmp_path, "--force")
    assert (tmp_path / "README.md").read_text() == "mine"
    done("generate", tmp_path, run.parent / "tiny.yaml")


def test_an_export_without_a_record_says_so(run: Path, tmp_path: Path) -> None:
    (tmp_path / "best.ckpt").write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    done("export", tmp_path / "best.ckpt", "-o", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "None are recorded" in text
    assert "Licence: not stated" in text
