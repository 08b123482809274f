"""The user's own source files: digests in the record, copies in the run's folder, changes said."""

import hashlib
import importlib
import json
import sys
import zipfile
from pathlib import Path

import pytest

from s2s_lightning.tracking.own_sources import changed, keep, recorded
from s2s_lightning.trust.names import unknown
from tests.cli.conftest import CONFIG, done

CORPUS = """from s2s_lightning.data import Generated
from own_pack.settings import SIZE


class Mine(Generated):
    def __init__(self) -> None:
        super().__init__("copy", max_length=SIZE, symbols=6, train_pairs=120, val_pairs=8, test_pairs=8)
"""


def test_own_files_are_recorded_copied_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pack = tmp_path / "own_pack"
    pack.mkdir()
    (pack / "__init__.py").write_text("")
    (pack / "settings.py").write_text("SIZE = 4\n")
    (pack / "corpus.py").write_text(CORPUS)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    run = tmp_path / "run"
    words = (
        "fit",
        "--config",
        tmp_path / "tiny.yaml",
        "--run",
        run,
        "--data.corpus",
        '{"class_path": "own_pack.corpus.Mine"}',
    )
    done(*words)
    files = json.loads((run / "run.json").read_text())["source"]
    assert set(files) == {"own_pack/__init__.py", "own_pack/corpus.py", "own_pack/settings.py"}
    for name, expected in files.items():
        text = (tmp_path / name).read_bytes()
        assert hashlib.sha256(text).hexdigest() == expected
        assert (run / "source" / name).read_bytes() == text
    assert changed(run) == []
    done("export", run, "-o", tmp_path / "exported")
    with zipfile.ZipFile(tmp_path / "exported" / "own_code.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            n: (tmp_path / n).read_bytes() for n in files
        }
    assert "- own_pack/settings.py" in (tmp_path / "exported" / "README.md").read_text()
    assert f"a copy of its code is in {tmp_path / 'exported' / 'own_code.zip'}" in unknown("x.Y", tmp_path / "exported")
    done("export", tmp_path / "exported", "-o", tmp_path / "again")
    assert (tmp_path / "again" / "own_code.zip").read_bytes() == (tmp_path / "exported" / "own_code.zip").read_bytes()

    (pack / "settings.py").write_text("SIZE = 4  # as before\n")
    for name in [name for name in sys.modules if name.startswith("own_pack")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    done("test", run, "--trainer.default_root_dir", tmp_path / "tests", "--trust", "own_pack")
    assert "own code changed since the run: own_pack/settings.py" in caplog.text
    caplog.clear()
    (tmp_path / "words.txt").write_text("1 2\n")
    done("generate", run, tmp_path / "words.txt", "--trust", "own_pack")
    assert "own code changed since the run: own_pack/settings.py" in caplog.text
    done("fit", "--resume", run, "--trainer.max_steps", 6)
    assert "own code changed since the run began: own_pack/settings.py" in caplog.text
    assert (run / "source_until_step_4" / "own_pack" / "settings.py").read_text() == "SIZE = 4\n"
    assert (run / "source" / "own_pack" / "settings.py").read_text() == "SIZE = 4  # as before\n"


def test_a_record_names_no_file_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(
        json.dumps({"source": {"../x.py": "", "/etc/x.py": "", "a.txt": "", "b.py": ""}})
    )
    assert set(recorded(tmp_path)) == {"b.py"}


def test_copies_of_the_code_behind_the_weights_outlive_a_second_resume_at_their_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for version in (1, 2, 3):
        (tmp_path / "own_versions.py").write_text(f"VERSION = {version}\n")
        monkeypatch.delitem(sys.modules, "own_versions", raising=False)
        importlib.invalidate_caches()
        importlib.import_module("own_versions")
        keep(tmp_path / "run", ["own_versions"], 4)
    assert (tmp_path / "run" / "source_until_step_4" / "own_versions.py").read_text() == "VERSION = 1\n"
    assert (tmp_path / "run" / "source" / "own_versions.py").read_text() == "VERSION = 3\n"
