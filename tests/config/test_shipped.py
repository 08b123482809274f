"""Shipped configurations and sweeps are found by name from any folder, in a checkout and in an installed package."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from s2s_lightning.__main__ import main
from s2s_lightning.config.shipped import names, shipped

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml"))
SWEEPS = sorted(path.relative_to(ROOT) for path in (ROOT / "sweeps").rglob("*.yaml"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an installed wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def command(installed: Path, folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    words = [sys.executable, "-m", "s2s_lightning", *args]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_wheel_has_each_file_and_its_own_package_finds_them(installed: Path, tmp_path: Path) -> None:
    for path in (*CONFIGS, *SWEEPS):
        assert (installed / "s2s_lightning" / path).read_bytes() == (ROOT / path).read_bytes()
    said = command(installed, tmp_path, "fit", "--config", "transformer", "--config", "data/reverse", "--print_config")
    assert "class_path: s2s_lightning.families.Transformer" in said.stdout, said.stderr
    assert "task: reverse" in said.stdout


def test_a_shipped_sweep_is_found_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    said = command(installed, tmp_path, "sweep", "lr", "--count", "1", "--at_most", "0")
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_each_configuration_has_a_name(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = str(path.relative_to("configs").with_suffix(""))
    assert name in names("configs")
    for spelling in (name, f"{name}.yaml", str(path)):
        assert Path(shipped(spelling, "configs")) == ROOT / path


def test_an_existing_file_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for mine in ("transformer", "transformer.yaml", "configs/transformer.yaml"):
        Path(mine).parent.mkdir(exist_ok=True)
        Path(mine).touch()
        assert shipped(mine, "configs") == mine


@pytest.mark.parametrize(
    "name", ["", "nothing", "../configs/transformer", "/transformer", "{model: RNN}", "a\nb: 1", "x" * 5000]
)
def test_anything_else_stays_as_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped(name, "configs") == name


def test_a_misspelt_name_is_answered_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        main(["fit", "--config", "transfomer"])
    assert error.value.code == 2
    assert capsys.readouterr().err.strip().endswith("did you mean transformer?")
