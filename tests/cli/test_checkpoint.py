"""A checkpoint alone is enough; it settles the network and the tokenizers, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from torch import Tensor

import s2s_lightning
from s2s_lightning.callbacks.checkpointing.checkpoints import inferred_mode
from s2s_lightning.checkpoints.checkpoint import initialise_from, refuse
from s2s_lightning.data import Generated, Pretokenized, Seq2SeqData
from s2s_lightning.decoding import Beam
from s2s_lightning.errors import UserError
from s2s_lightning.families import Transformer
from s2s_lightning.runs.folder import become_latest
from tests.cli.conftest import Run, command, done, fitted


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)  # type: ignore[no-any-return]


def weights(path: Path) -> dict[str, Tensor]:
    return content(path)["state_dict"]  # type: ignore[no-any-return]


def evaluated(root: Path, name: str, *args: object) -> Path:
    """The folder of an evaluation."""
    done(name, *args, "--trainer.default_root_dir", root)
    (folder,) = root.glob("*/[0-9]*")
    return folder


def scores(folder: Path, split: str) -> dict[str, Any]:
    return json.loads((folder / f"{split}_scores.json").read_text())["scores"]  # type: ignore[no-any-return]


def network(d_ff: int = 32) -> Transformer:
    return Transformer(10, d_model=16, num_heads=2, d_ff=d_ff, num_encoder_layers=1, num_decoder_layers=1)


def test_the_checkpoint_alone_repeats_its_validation(trained: Run, tmp_path: Path) -> None:
    assert scores(evaluated(tmp_path, "validate", "--ckpt_path", trained.last), "val") == scores(trained.folder, "val")


def test_the_checkpoint_alone_predicts_what_load_generates(trained: Run, tmp_path: Path) -> None:
    folder = evaluated(tmp_path, "predict", "--ckpt_path", trained.last)
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    model = s2s_lightning.load(trained.last)
    assert model.generate([row["source"] for row in rows]) == [row["hypothesis"] for row in rows]


def test_what_may_change_at_test_time_is_what_the_command_line_says(trained: Run, tmp_path: Path) -> None:
    changes = ["--decoding", "Beam", "--decoding.beam_size", 2, "--data.batch_size", 3, "--data.corpus.test_pairs", 5]
    folder = evaluated(tmp_path, "test", "--ckpt_path", trained.last, *changes)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["decoding"]["class_path"].endswith("Beam")
    assert config["decoding"]["init_args"]["beam_size"] == 2
    assert config["data"]["batch_size"] == 3
    assert len((folder / "predictions.txt").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--model.d_model", 32], "model.d_model=32 contradicts the checkpoint's 16"),
        (["--model", "LSTM"], "model.class_path=s2s_lightning.families.LSTM contradicts the checkpoint's"),
        (
            ["--data.tokenizer", "BPE"],
            "data.tokenizer.class_path=s2s_lightning.data.BPE contradicts the checkpoint's default: a checkpoint keeps "
            "its tokenizers; leave it out, or change it in a new run with fit --init_from",
        ),
    ],
)
def test_a_setting_that_contradicts_the_checkpoint_is_refused_by_name(
    trained: Run, change: list[object], said: str
) -> None:
    for name in ("fit", "test"):
        result = command(name, "--ckpt_path", trained.last, *change)
        assert result.code == 2
        assert said in result.err


def test_the_configuration_that_trained_it_does_not_contradict_it(trained: Run, config: Path, tmp_path: Path) -> None:
    evaluated(tmp_path, "test", "--config", config, "--ckpt_path", trained.last)


def test_a_setting_that_the_checkpoint_does_not_know_is_no_contradiction() -> None:
    stored = {"model": {"class_path": "C", "init_args": {"a": 1, "part": {"class_path": "P", "init_args": {"b": 2}}}}}
    asked = {
        "model": {"class_path": "C", "init_args": {"a": 1, "new": 7, "part": stored["model"]["init_args"]["part"]}}
    }
    refuse(asked, stored)
    asked["model"]["init_args"]["part"] = {"class_path": "P", "init_args": {"b": 3}}
    with pytest.raises(UserError, match=r"model\.part\.b=3 contradicts the checkpoint's 2"):
        refuse(asked, stored)


def test_a_resumed_run_goes_on_where_the_checkpoint_stands(trained: Run, tmp_path: Path) -> None:
    resumed = fitted(tmp_path, "--ckpt_path", trained.last, "--trainer.max_steps", 6)
    first, then = content(trained.last), content(resumed.last)
    assert (first["global_step"], then["global_step"]) == (4, 6)
    steps = [state["step"].item() for state in then["optimizer_states"][0]["state"].values()]
    assert set(steps) == {6}


def test_latest_is_the_newest_run_with_a_checkpoint(config: Path, tmp_path: Path) -> None:
    first = fitted(tmp_path, "--config", config)
    latest = first.folder.parent / "latest"
    assert latest.resolve() == first.folder.resolve()
    assert command("fit", "--config", config, "--optimizer.lr=-1", "--trainer.default_root_dir", tmp_path).code == 2
    done("fit", "--config", config, "--trainer.fast_dev_run", 1, "--trainer.default_root_dir", tmp_path)
    assert latest.resolve() == first.folder.resolve()
    last = latest / "checkpoints" / "last.ckpt"
    done("fit", "--ckpt_path", last, "--trainer.max_steps", 5, "--trainer.default_root_dir", tmp_path)
    assert latest.resolve() != first.folder.resolve()
    assert content(last)["global_step"] == 5
    assert content(first.last)["global_step"] == 4


def test_a_trainer_of_ones_own_makes_no_link(tmp_path: Path) -> None:
    become_latest(tmp_path)
    assert not (tmp_path.parent / "latest").exists()


def test_tokenizers_of_a_checkpoint_are_not_trained_again(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pretokenized, "train", None)
    evaluated(
        tmp_path / "test", "test", "--ckpt_path", trained.last, "--data.corpus.symbols", 5, "--data.corpus.seed", 9
    )
    resumed = fitted(tmp_path / "resumed", "--ckpt_path", trained.last, "--trainer.max_steps", 5)
    new = fitted(tmp_path / "new", "--init_from", trained.last, "--trainer.max_steps", 1, "--data.corpus", "Generated")
    tokenizers = [content(path)["Seq2SeqData"]["tokenizers"] for path in (trained.last, resumed.last, new.last)]
    assert tokenizers[0] == tokenizers[1] == tokenizers[2]


def test_init_from_starts_a_new_run_from_old_weights(trained: Run, config: Path, tmp_path: Path) -> None:
    new = fitted(
        tmp_path, "--config", config, "--init_from", trained.last, "--trainer.max_steps", 1, "--optimizer.lr", 0
    )
    assert content(new.last)["global_step"] == 1
    old, copied = weights(trained.last), weights(new.last)
    assert all(torch.equal(old[name], copied[name]) for name in old)


def test_init_from_needs_no_model(trained: Run, tmp_path: Path) -> None:
    new = fitted(tmp_path, "--init_from", trained.last, "--trainer.max_steps", 1, "--data.corpus", "Generated")
    assert content(new.last)["hyper_parameters"]["d_model"] == 16


def test_init_from_names_the_tensors_that_do_not_match() -> None:
    torch.manual_seed(0)
    old, new = network(), network(d_ff=64)
    state = {**old.state_dict(), "model.gone": torch.zeros(2)}
    del state["model.readout.bias"]
    before = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    differences = initialise_from(new, state)
    named = {line.split(":")[0] for line in differences}
    wider = {name for name, tensor in before.items() if name in state and state[name].shape != tensor.shape}
    assert wider
    assert named == wider | {"model.gone", "model.readout.bias"}
    for name, tensor in new.state_dict().items():
        torch.testing.assert_close(tensor, before[name] if name in named else state[name], rtol=0, atol=0)


def test_a_model_trained_from_python_loads_like_one_of_the_command_line(tmp_path: Path) -> None:
    data = Seq2SeqData(Generated("copy", train_pairs=50, val_pairs=4, test_pairs=4), max_tokens=64)
    model = Transformer(data.src_vocab_size, d_model=16, num_heads=2, d_ff=32)
    trainer = Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
        enable_progress_bar=False, use_distributed_sampler=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    loaded = s2s_lightning.load(tmp_path / "own.ckpt")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.module.state_dict()[name])
    assert len(loaded.generate(["1 2", ""])) == 2
    evaluated(tmp_path / "runs", "test", "--ckpt_path", tmp_path / "own.ckpt", "--data.corpus", "Generated")


def test_search_gives_the_n_best_with_their_scores(trained: Run) -> None:
    model = s2s_lightning.load(trained.last)
    texts = ["1 2", "", "3 4 5"]
    found = model.search(texts, Beam(beam_size=3, n_best=2))
    assert [len(outputs) for outputs in found] == [2, 2, 2]
    assert all(outputs[0].score >= outputs[1].score for outputs in found)
    assert model.generate(texts, Beam(beam_size=3)) == [outputs[0].text for outputs in found]


def test_a_checkpoint_holds_weights_and_plain_settings_alone(trained: Run) -> None:
    checkpoint = content(trained.best)
    assert checkpoint["class_path"] == "s2s_lightning.families.Transformer"
    assert checkpoint["s2s_lightning_config"]["model"]["init_args"]["d_model"] == 16
    assert "ckpt_path" not in checkpoint["s2s_lightning_config"]


HYBRID = {
    "class_path": "Hybrid",
    "init_args": {
        "d_embedding": 16,
        "encoder": {
            "class_path": "s2s_lightning.families.transformer.TransformerEncoder",
            "init_args": {"num_layers": 1, "layers": {"d_ff": 32, "num_heads": 2}},
        },
        "decoder": {"class_path": "s2s_lightning.families.rnn.FixedContextDecoder", "init_args": {"d_model": 16}},
    },
}


def test_a_checkpoint_of_parts_by_class_path_is_enough_too(config: Path, tmp_path: Path) -> None:
    (tmp_path / "hybrid.yaml").write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "model": HYBRID}))
    run = fitted(tmp_path / "runs", "--config", tmp_path / "hybrid.yaml")
    loaded = s2s_lightning.load(run.last)
    assert loaded.module.model.encoder.layers[0].feed_forward.inner.out_features == 32
    assert {name: tensor.tolist() for name, tensor in weights(run.last).items()} == {
        name: tensor.tolist() for name, tensor in loaded.module.state_dict().items()
    }
    assert scores(evaluated(tmp_path, "validate", "--ckpt_path", run.last), "val") == scores(run.folder, "val")
    resumed = fitted(tmp_path / "resumed", "--ckpt_path", run.last, "--trainer.max_steps", 5)
    assert content(resumed.last)["global_step"] == 5


def test_a_checkpoint_whose_class_is_gone_names_it(trained: Run, tmp_path: Path) -> None:
    torch.save({**content(trained.last), "class_path": "gone.Model"}, tmp_path / "gone.ckpt")
    with pytest.raises(UserError, match=r"names the Seq2SeqModule gone\.Model, .* --trust gone"):
        s2s_lightning.load(tmp_path / "gone.ckpt")


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        *((f"val/{name}", "min") for name in ("loss", "ppl", "token_error_rate", "ter")),
        *((name, "max") for name in ("val/bleu", "val/rougeL", "val/character", "mine")),
    ],
)
def test_the_name_of_a_metric_says_what_is_better(monitor: str, mode: str) -> None:
    assert inferred_mode(monitor) == mode


def test_best_is_the_best_and_last_the_last(config: Path, tmp_path: Path) -> None:
    """Without learning no validation improves on the first."""
    epochs = ["--trainer.max_steps", -1, "--trainer.max_epochs", 2]
    run = fitted(tmp_path, "--config", config, *epochs, "--optimizer.lr", 0)
    assert content(run.best)["epoch"] == 0
    assert content(run.last)["epoch"] == 1


def test_a_resumed_run_must_improve_on_the_best_of_the_first(trained: Run, tmp_path: Path) -> None:
    checkpoint = content(trained.last)
    state = checkpoint["callbacks"]["BestAndLast"]
    checkpoint["callbacks"]["BestAndLast"] = {**state, "best_model_score": torch.tensor(0.0)}
    torch.save(checkpoint, tmp_path / "perfect.ckpt")
    resumed = fitted(tmp_path / "runs", "--ckpt_path", tmp_path / "perfect.ckpt", "--trainer.max_steps", 5)
    assert not resumed.best.exists()
    assert content(resumed.last)["callbacks"]["BestAndLast"]["best_model_path"] == str(trained.best)


def test_a_strangers_checkpoint_of_a_class_of_ours_loads_in_a_fresh_process(trained: Run, tmp_path: Path) -> None:
    """Nothing but the checkpoint has imported its class there, and another user's key has signed it."""
    code = "import sys, s2s_lightning; print(type(s2s_lightning.load(sys.argv[1]).module).__name__)"
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "PYTHONPATH": os.getcwd()}
    program = [sys.executable, "-c", code, str(trained.last)]
    result = subprocess.run(program, capture_output=True, text=True, env=environment)
    assert result.stdout == "Transformer\n", result.stderr
