"""average: law 13, what it takes from a run, what it refuses, and that its result is a checkpoint like any other."""

import csv
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import s2s_lightning
from s2s_lightning.callbacks.checkpointing.checkpoints import Validated, ranked
from s2s_lightning.checkpoints.weight_average import average
from s2s_lightning.errors import UserError
from s2s_lightning.files import whole_file
from tests.cli.conftest import Run, command, done, fitted

EACH_STEP = ["--trainer.limit_train_batches", 1, "--checkpoint.keep_last", 3, "--checkpoint.keep_best", 2]
"""An epoch is a step, and its end is validated."""


@pytest.fixture(scope="module")
def kept(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of five steps, each of them validated."""
    root = tmp_path_factory.mktemp("kept")
    return fitted(root, "--config", config, *EACH_STEP, "--trainer.max_steps", 5, "--model.dropout", 0)


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)  # type: ignore[no-any-return]


def weights(path: Path) -> dict[str, Tensor]:
    return content(path)["state_dict"]  # type: ignore[no-any-return]


def averaged(output: Path, *args: object) -> dict[str, Any]:
    """What the command writes."""
    done("average", *args, "-o", output)
    return content(output)


def steps(checkpoint: dict[str, Any]) -> list[int]:
    """What it is the average of."""
    return sorted(entry["global_step"] for entry in checkpoint["average_of"])


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Bit-equal, in name and type too."""
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def losses(run: Run) -> list[Validated]:
    """The validations of a run, as its metrics have them."""
    with (run.folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/loss"]]
    return [Validated(int(row["step"]), float(row["val/loss"])) for row in rows]


def files(run: Run) -> list[Path]:
    return sorted(run.last.parent.glob("step_*.ckpt"))


def test_a_run_keeps_its_last_and_its_best_checkpoints_and_no_others(kept: Run) -> None:
    validated = losses(kept)
    assert [v.step for v in validated] == [1, 2, 3, 4, 5]
    expected = {*validated[-3:], *sorted(validated, key=lambda v: v.score)[:2]}
    found = {content(path)["global_step"]: path.name for path in files(kept)}
    assert found == {v.step: f"step_{v.step:07}.ckpt" for v in expected}


def test_a_checkpoint_records_the_score_of_its_own_weights(kept: Run) -> None:
    by_step = {v.step: v.score for v in losses(kept)}
    for path in [kept.last, kept.best, *files(kept)]:
        checkpoint = content(path)
        score = checkpoint["callbacks"]["BestAndLast"]["score"]
        assert score == pytest.approx(by_step[checkpoint["global_step"]], rel=1e-6)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_of_equal_scores_the_earlier_is_better_and_nan_is_the_worst(mode: Any) -> None:
    seen = [Validated(1, float("nan")), Validated(2, 1.0), Validated(3, 0.5), Validated(4, 1.0)]
    assert [v.step for v in ranked(seen, mode)] == {"min": [3, 2, 4, 1], "max": [2, 4, 3, 1]}[mode]


def test_the_average_of_a_checkpoint_with_itself_is_it(kept: Run, tmp_path: Path) -> None:
    for count in (1, 2, 3):
        found = averaged(tmp_path / "out.ckpt", *[kept.last] * count)
        assert_equal(found["state_dict"], weights(kept.last))
        assert len(found["average_of"]) == count


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_that_holds_for_every_type_and_for_infinity(kept: Run, tmp_path: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    state = {"w": torch.cat([torch.randn(10_000, dtype=dtype), torch.tensor([torch.inf, -torch.inf], dtype=dtype)])}
    state["count"] = torch.arange(3)
    torch.save({**content(kept.last), "state_dict": state}, tmp_path / "typed.ckpt")
    assert_equal(average([tmp_path / "typed.ckpt"] * 3)["state_dict"], state)


def test_the_average_of_two_is_their_mean(kept: Run, tmp_path: Path) -> None:
    one, other = files(kept)[:2]
    a, b = weights(one), weights(other)
    assert any(not torch.equal(a[name], b[name]) for name in a)
    assert_equal(
        averaged(tmp_path / "out.ckpt", one, other)["state_dict"],
        {name: ((a[name].double() + b[name].double()) / 2).to(a[name].dtype) for name in a},
    )


def test_the_average_of_three_is_their_mean_in_any_order(kept: Run) -> None:
    paths = files(kept)[-3:]
    states = [weights(path) for path in paths]
    found = [average(order)["state_dict"] for order in permutations(paths)]
    for other in found[1:]:
        assert_equal(other, found[0])
    for name, tensor in found[0].items():
        mean = torch.stack([state[name].double() for state in states]).mean(0)
        torch.testing.assert_close(tensor.double(), mean, rtol=1e-7, atol=1e-12)


def test_tied_parameters_stay_one_tensor(kept: Run, tmp_path: Path) -> None:
    state = averaged(tmp_path / "out.ckpt", kept.folder, "--last", 2)["state_dict"]
    tied = [state[f"model.{part}.weight"].data_ptr() for part in ("src_embedding", "tgt_embedding", "readout")]
    assert len(set(tied)) == 1


def test_last_and_best_take_what_they_say_from_a_folder(kept: Run, tmp_path: Path) -> None:
    """best.ckpt and last.ckpt are the same weights as one of the others, and count once."""
    validated = losses(kept)
    for name, expected in (("--last", validated[-3:]), ("--best", ranked(validated, "min")[:2])):
        found = averaged(tmp_path / "out.ckpt", kept.folder, name, len(expected))
        assert steps(found) == sorted(v.step for v in expected)
    assert found["global_step"] == max(v.step for v in expected)


def test_an_average_in_the_folder_is_no_checkpoint_of_the_run(kept: Run) -> None:
    output = kept.last.with_name("zz.ckpt")
    try:
        first, again = (averaged(output, kept.folder, "--last", 2) for _ in range(2))
    finally:
        output.unlink()
    assert steps(first) == steps(again) == [4, 5]


def test_a_run_and_the_one_that_resumed_it_average_like_one_that_never_stopped(
    kept: Run, config: Path, tmp_path: Path
) -> None:
    longer = ["--trainer.max_steps", 7, "--model.dropout", 0]
    straight = fitted(tmp_path / "straight", "--config", config, *EACH_STEP, *longer)
    resumed = fitted(tmp_path / "resumed", "--ckpt_path", kept.last, "--trainer.max_steps", 7)
    assert len(files(resumed)) == 2
    for which in (["--last", 3], ["--best", 2]):
        found = averaged(tmp_path / "parts.ckpt", kept.folder, resumed.folder, *which)
        expected = averaged(tmp_path / "whole.ckpt", straight.folder, *which)
        assert steps(found) == steps(expected)
        assert_equal(found["state_dict"], expected["state_dict"])


def test_of_a_moving_average_that_is_averaged_which_load_uses(config: Path, tmp_path: Path) -> None:
    ema = ["--trainer.callbacks+=EMA", "--trainer.callbacks.decay", 0.5]
    run = fitted(tmp_path / "ema", "--config", config, *ema, *EACH_STEP)
    found = averaged(tmp_path / "out.ckpt", run.last, run.last)
    assert_equal(found["state_dict"], s2s_lightning.load(run.last).module.state_dict())
    assert any(not torch.equal(t, content(run.last)["current_model_state"][n]) for n, t in found["state_dict"].items())
    assert "current_model_state" not in found


def test_the_result_generates_is_tested_and_starts_new_runs(kept: Run, tmp_path: Path) -> None:
    output = tmp_path / "average.ckpt"
    averaged(output, kept.folder, "--last", 2)
    (tmp_path / "in").write_text("1 2\n3\n")
    done("generate", output, tmp_path / "in", "-o", tmp_path / "out")
    assert (tmp_path / "out").read_text().split("\n")[:-1] == s2s_lightning.load(output).generate(["1 2", "3"])
    done("test", "--ckpt_path", output, "--trainer.default_root_dir", tmp_path / "test")
    begun = fitted(
        tmp_path / "new", "--init_from", output, "--data.corpus", "Generated", "--trainer.max_steps", 1,
        "--trainer.accelerator", "cpu", "--optimizer.lr", 0,
    )  # fmt: skip
    assert_equal(weights(begun.last), weights(output))


def test_fit_does_not_go_on_from_an_average(kept: Run, tmp_path: Path) -> None:
    averaged(tmp_path / "average.ckpt", kept.folder, "--last", 2)
    result = command("fit", "--ckpt_path", tmp_path / "average.ckpt", "--trainer.max_steps", 9)
    assert result.code == 2
    assert "average.ckpt is an average of 2 checkpoints, so that no optimizer can go on from it" in result.err
    assert "fit --init_from" in result.err


def other(checkpoint: dict[str, Any], name: str) -> dict[str, Any]:
    """A checkpoint that differs in one thing."""
    state, data = dict(checkpoint["state_dict"]), checkpoint["Seq2SeqData"]
    bias = state["model.readout.bias"]
    if name == "missing":
        del state["model.readout.bias"]
    return {
        "missing": {**checkpoint, "state_dict": state},
        "extra": {**checkpoint, "state_dict": {**state, "model.more": bias}},
        "shape": {**checkpoint, "state_dict": {**state, "model.readout.bias": bias[1:]}},
        "dtype": {**checkpoint, "state_dict": {**state, "model.readout.bias": bias.double()}},
        "tie": {**checkpoint, "state_dict": {**state, "model.readout.weight": state["model.readout.weight"] + 1}},
        "class": {**checkpoint, "class_path": "s2s_lightning.families.rnn.LSTM"},
        "copy": {**checkpoint, "Seq2SeqData": {**data, "copy": True}},
        "vocabulary": {
            **checkpoint,
            "Seq2SeqData": {**data, "tokenizers": {**data["tokenizers"], "src": {"class_path": "x", "state": ""}}},
        },
    }[name]


DIFFERENT = {
    "missing": "model.readout.bias is missing, not (10,) float32",
    "extra": "model.more is (10,) float32, not missing",
    "shape": "model.readout.bias is (9,) float32, not (10,) float32",
    "dtype": "model.readout.bias is (10,) float64, not (10,) float32",
    "tie": "is not model.src_embedding.weight, as in the others",
    "class": "class_path is s2s_lightning.families.rnn.LSTM, not s2s_lightning.families.Transformer",
    "copy": "data.copy is True, not False",
    "vocabulary": "it has another source vocabulary",
}


@pytest.mark.parametrize(("name", "said"), DIFFERENT.items(), ids=DIFFERENT)
def test_what_is_no_checkpoint_of_the_same_model_is_named(kept: Run, tmp_path: Path, name: str, said: str) -> None:
    torch.save(content(kept.last), tmp_path / "a.ckpt")
    torch.save(other(content(kept.last), name), tmp_path / "b.ckpt")
    result = command("average", tmp_path / "b.ckpt", tmp_path / "a.ckpt", "-o", tmp_path / "out.ckpt")
    assert result.code == 2
    assert said in result.err
    assert str(tmp_path / "b.ckpt") in result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "b.ckpt"]


def test_a_setting_that_no_tensor_shows_is_compared_too(kept: Run, tmp_path: Path) -> None:
    checkpoint = content(kept.last)
    checkpoint["s2s_lightning_config"]["model"]["init_args"]["num_heads"] = 4
    torch.save(checkpoint, tmp_path / "heads.ckpt")
    with pytest.raises(UserError, match=r"model\.num_heads is .*, not "):
        average([kept.last, tmp_path / "heads.ckpt"])


def test_whole_numbers_have_no_mean(kept: Run, tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2)):
        torch.save({**content(kept.last), "state_dict": {"count": torch.tensor(value)}}, tmp_path / f"{name}.ckpt")
    with pytest.raises(UserError, match=r"count differs, and torch\.int64 has no mean"):
        average([tmp_path / "a.ckpt", tmp_path / "b.ckpt"])


REFUSED = {
    "RUN -o OUT": "is a folder: say which of its",
    "RUN --last 9 -o OUT": "--last 9: there are",
    "RUN --best 9 -o OUT": "with a validation's val/loss; ask for fewer, or keep more in training: "
    "fit --checkpoint.keep_best 9",
    "RUN --best 0 -o OUT": "--best=0: it must be 1 or more",
    "RUN --best 1 --last 1 -o OUT": "not allowed with argument",
    "LAST LAST -o LAST": "is one of the checkpoints that are averaged",
    "RUN --last 1": "required: -o/--output",
    "LAST -o /missing/out": "/missing/out cannot be written",
    "EMPTY --last 1 -o OUT": "is no folder of a run",
    "missing.ckpt -o OUT": "there is no checkpoint missing.ckpt",
    "RUN --lost 2 -o OUT": "--lost is not an option of average: did you mean --last?",
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.items(), ids=REFUSED)
def test_average_refuses_in_one_line(kept: Run, tmp_path: Path, arguments: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    names = {"RUN": kept.folder, "LAST": kept.last, "OUT": tmp_path / "out", "EMPTY": tmp_path / "empty"}
    result = command("average", *(names.get(word, word) for word in arguments.split()))
    assert result.code == 2
    assert said in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_fails_half_way_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")

    def fail() -> None:
        with whole_file(tmp_path / "out") as file:
            file.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
