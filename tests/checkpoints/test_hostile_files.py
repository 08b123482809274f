"""Law 30: nothing in a file runs, whatever the command; a damaged file is refused by each of them."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import s2s_lightning
from s2s_lightning.errors import UserError
from s2s_lightning.trust import names
from s2s_lightning.trust.signature import damage, is_own
from tests.cli.conftest import Run, command, done

RUNS_TEXT = {"class_path": "torch._inductor.codecache.PyCodeCache", "state": "open('RAN', 'w').write('ran')\n"}
"""A standard class whose ``load`` runs a text as Python."""

Content = dict[str, Any]


def tokenizer_of_torch(content: Content) -> None:
    content["Seq2SeqData"]["tokenizers"]["src"] = RUNS_TEXT


def tokenizer_beside(content: Content) -> None:
    content["Seq2SeqData"]["tokenizers"]["src"] = {"class_path": "beside.Model", "state": ""}


def module_beside(content: Content) -> None:
    content["class_path"] = "beside.Model"


def model_beside(content: Content) -> None:
    content["s2s_lightning_config"]["model"]["class_path"] = "beside.Model"


def model_of_another_kind(content: Content) -> None:
    content["class_path"] = content["s2s_lightning_config"]["model"]["class_path"] = "s2s_lightning.data.BPE"


def search_beside(content: Content) -> None:
    content["s2s_lightning_config"]["decoding"] = {"class_path": "beside.Model"}


def search_as_text(content: Content) -> None:
    content["s2s_lightning_config"]["decoding"] = "beside.Model"


def search_as_yaml(content: Content) -> None:
    content["s2s_lightning_config"]["decoding"] = "{class_path: beside.Model}"


def part_beside(content: Content) -> None:
    content["s2s_lightning_config"]["model"]["init_args"]["dropout"] = {"class_path": "beside.Model"}


def unreal_size(content: Content) -> None:
    content["state_dict"]["model.src_embedding.weight"] = torch.zeros(1).expand(2**40, 1)


def network_beyond_memory(content: Content) -> None:
    content["s2s_lightning_config"]["model"]["init_args"]["d_ff"] = 10**12


def option_of_a_newer_version(content: Content) -> None:
    content["s2s_lightning_config"]["model"]["init_args"]["new_option"] = 3


def newer_format(content: Content) -> None:
    content["s2s_lightning_format"] = [99, "9.9"]


def no_mapping_of_tensors(content: Content) -> None:
    content["state_dict"] = ["a"]


EVERYWHERE = [tokenizer_of_torch, tokenizer_beside, model_beside, model_of_another_kind, newer_format]
EVERYWHERE += [part_beside, unreal_size, network_beyond_memory, option_of_a_newer_version, no_mapping_of_tensors]
OF_THE_SEARCH = [search_beside, search_as_text, search_as_yaml]

COMMANDS = {
    "generate": "generate FILE src.txt",
    "score": "score FILE src.txt src.txt",
    "test": "test --ckpt_path FILE",
    "validate": "validate --ckpt_path FILE",
    "ensemble": "generate GOOD src.txt --decoding Ensemble --decoding.checkpoints [FILE]",
    "resume": "fit --ckpt_path FILE --trainer.max_steps 9",
}


@pytest.fixture
def folder(trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a good checkpoint, and a module whose import leaves a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(names.VARIABLE, raising=False)
    monkeypatch.setattr(names, "_allowed", set())
    shutil.copy(trained.best, "good.ckpt")
    Path("src.txt").write_text("0 1\n")
    Path("beside.py").write_text("open('RAN', 'w').write('ran')\nclass Model: pass\n")
    yield tmp_path
    assert not Path("RAN").exists(), "code of the file ran"


def spoilt(change: Callable[[Content], None]) -> None:
    content = torch.load("good.ckpt", weights_only=True)
    change(content)
    torch.save(content, "bad.ckpt")


def refused(typed: str) -> str:
    result = command(*typed.replace("FILE", "bad.ckpt").replace("GOOD", "good.ckpt").split())
    assert result.code == 2, result
    assert "Traceback" not in result.err
    (line,) = [line for line in result.err.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize("change", EVERYWHERE, ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", ["generate", "test", "resume"])
def test_a_hostile_checkpoint_is_refused_in_one_line(
    folder: Path, change: Callable[[Content], None], name: str
) -> None:
    spoilt(change)
    assert refused(COMMANDS[name])


def test_a_module_beside_a_checkpoint_is_not_imported(folder: Path) -> None:
    spoilt(module_beside)
    assert "--trust beside" in refused(COMMANDS["generate"])
    command("test", "--ckpt_path", "bad.ckpt")  # which builds the model of the configuration


@pytest.mark.parametrize("change", OF_THE_SEARCH, ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", ["generate", "test"])
def test_a_hostile_search_is_refused_in_one_line(folder: Path, change: Callable[[Content], None], name: str) -> None:
    spoilt(change)
    assert refused(COMMANDS[name])


@pytest.mark.parametrize("key", ["callbacks", "logger", "profiler", "strategy", "plugins"])
def test_an_evaluation_builds_no_part_of_the_stored_trainer(folder: Path, key: str) -> None:
    def change(content: Content) -> None:
        part = {"class_path": "lightning.pytorch.callbacks.LambdaCallback", "init_args": {"on_test_start": "beside.go"}}
        content["s2s_lightning_config"]["trainer"][key] = [part] if key in ("callbacks", "plugins") else part
        content["s2s_lightning_config"]["trainer"]["default_root_dir"] = str(folder / "elsewhere")
        content["s2s_lightning_config"]["data"]["cache_dir"] = str(folder / "elsewhere")

    spoilt(change)
    done("test", "--ckpt_path", "bad.ckpt")
    assert not (folder / "elsewhere").exists()
    assert "LambdaCallback" in refused(COMMANDS["resume"])


@pytest.mark.parametrize("typed", [*COMMANDS.values(), "export FILE -o out", "average FILE GOOD -o out.ckpt"], ids=str)
def test_a_damaged_checkpoint_is_refused_by_every_command(folder: Path, typed: str) -> None:
    content = bytearray(Path("good.ckpt").read_bytes())
    with zipfile.ZipFile("good.ckpt") as file:
        largest = max((e for e in file.infolist() if "/data/" in e.filename), key=lambda entry: entry.file_size)
    for place in range(largest.header_offset + 200, largest.header_offset + 232):
        content[place] ^= 21
    Path("bad.ckpt").write_bytes(content)
    assert "bad.ckpt" in refused(typed)


def test_an_exported_folder_runs_nothing_and_its_damage_is_seen(folder: Path) -> None:
    done("export", "good.ckpt", "-o", "bad.ckpt")
    description = json.loads(Path("bad.ckpt/tokenizer_config.json").read_text())
    description["src"] = {"class_path": RUNS_TEXT["class_path"], "options": None}
    (folder / "bad.ckpt/tokenizer_config.json").write_text(json.dumps(description))
    (folder / "bad.ckpt/tokenizer.json").write_text(RUNS_TEXT["state"])
    assert "is damaged, or was changed" in refused(COMMANDS["generate"])
    Path("bad.ckpt/digests.json").unlink()
    assert refused(COMMANDS["generate"])
    done("export", "good.ckpt", "-o", "whole")
    config = yaml.safe_load(Path("whole/config.yaml").read_text())
    config["model"]["class_path"] = "beside.Model"
    Path("whole/config.yaml").write_text(yaml.safe_dump(config))
    Path("whole/digests.json").unlink()
    assert "beside.Model" in refused("generate whole src.txt")
    done("export", "good.ckpt", "-o", "cut")
    weights = bytearray(Path("cut/model.safetensors").read_bytes())
    weights[-9] ^= 1
    Path("cut/model.safetensors").write_bytes(weights)
    assert "model.safetensors is damaged" in refused("generate cut src.txt")


OWN = """
from s2s_lightning.families import Transformer
class Mine(Transformer):
    pass
"""


def test_ones_own_class_needs_no_flag_and_another_key_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own_model_of_a_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(folder))
    args = ["--trainer.accelerator", "cpu", "--data.corpus", "Generated", "--data.corpus.train_pairs", 20]
    sizes = ["--model.d_model", 8, "--model.num_heads", 2, "--model.d_ff", 8]
    done("fit", "--model", "own_model_of_a_test.Mine", *sizes, *args, "--trainer.max_steps", 2, "--run", "run")
    last = "run/checkpoints/last.ckpt"
    monkeypatch.setattr(names, "_allowed", set())
    assert is_own(last)
    done("generate", last, "src.txt")
    done("fit", "--resume", "run", "--trainer.max_steps", 3)
    done("average", last, "-o", "mean.ckpt")
    assert is_own("mean.ckpt")
    with monkeypatch.context() as other:
        other.setenv("S2S_LIGHTNING_STATE", str(folder / "other"))
        other.setattr(names, "known", lambda base: {})  # as in a process that has not imported it
        other.setattr(names, "_allowed", set())
        line = refused(f"generate {last} src.txt")
        assert "--trust own_model_of_a_test" in line
        with pytest.raises(UserError, match="--trust own_model_of_a_test"):
            s2s_lightning.load(last)


def test_a_trusted_module_is_imported_and_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("trusted_of_a_test.py").write_text("open('IMPORTED', 'w')\n" + OWN)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv(names.VARIABLE, "")

    def change(content: Content) -> None:
        content["class_path"] = content["s2s_lightning_config"]["model"]["class_path"] = "trusted_of_a_test.Mine"

    spoilt(change)
    assert "--trust trusted_of_a_test" in refused(COMMANDS["generate"])
    assert not Path("IMPORTED").exists()
    result = done("generate", "bad.ckpt", "src.txt", "--trust", "trusted_of_a_test")
    assert f"trusted: trusted_of_a_test, imported from {folder / 'trusted_of_a_test.py'}" in result.err
    assert Path("IMPORTED").exists()


def test_a_signature_covers_names_and_checksums_and_survives_a_copy(folder: Path) -> None:
    assert is_own("good.ckpt")
    assert damage("good.ckpt") is None
    content = torch.load("good.ckpt", weights_only=True)
    torch.save(content, "again.ckpt")
    assert not is_own("again.ckpt")
    with zipfile.ZipFile("good.ckpt") as good, zipfile.ZipFile("again.ckpt", "a") as again:
        again.comment = good.comment
    assert is_own("again.ckpt") == (Path("again.ckpt").read_bytes() == Path("good.ckpt").read_bytes())


def test_the_key_is_the_users_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Path(os.environ["S2S_LIGHTNING_STATE"], "key")
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    other = folder / "other"
    other.mkdir()
    shutil.copy(key, other / "key")
    (other / "key").chmod(0o644)
    monkeypatch.setenv("S2S_LIGHTNING_STATE", str(other))
    assert not is_own("good.ckpt"), "a key that others can read is none"
    (other / "key").unlink()
    (other / "key").symlink_to(key)
    assert not is_own("good.ckpt"), "a link is not followed"


def test_the_file_that_a_sweeps_server_fills_names_no_class_of_others(
    folder: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "of-a-server")
    for content in ({"trainer.callbacks": "beside.Model"}, {"model.class_path": "beside.Model"}):
        Path("args.json").write_text(json.dumps(content))
        assert "beside" in refused(f"fit --config {config} --config args.json")
