"""compare: which files are what, what is printed, and what is refused in one line."""

import gzip
import json
import re
from pathlib import Path

import pytest
import sacrebleu
from sacrebleu.significance import PairedTest

from s2s_lightning.cli.commands.compare import arguments, split
from s2s_lightning.evaluation.comparison import MEASURES
from tests.cli.conftest import command, done, fitted
from tests.evaluation.comparison.texts import LINES, noisy, references

RIGHT = references()
TEXTS = {
    "ref": RIGHT,
    "ref2": noisy(RIGHT, 0.1, 7),
    "x": noisy(RIGHT, 0.4, 1),
    "y": noisy(RIGHT, 0.3, 2),
    "s1": noisy(RIGHT, 0.2, 3),
    "s2": noisy(RIGHT, 0.2, 4),
}
ONE = ("--references", "ref")
FAST = ("--metrics", "bleu", "--samples", "20")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, lines in TEXTS.items():
        (tmp_path / name).write_text("".join(line + "\n" for line in lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "typed",
    [
        "--references a b -- x y",
        "x y --references a b",
        "x --references a b --test bs y",
        "--references a b --test=bs x y",
        "--references a --references b x y",
        "--references=a --references=b x y",
        "--references a --references b -- x y",
        "--references a b -- x --test bs y",
    ],
)
def test_two_references_can_be_told_from_two_systems(typed: str) -> None:
    references, systems, _ = split(typed.split())
    assert (references, systems) == (["a", "b"], ["x", "y"])


def test_references_that_are_closed_are_no_systems() -> None:
    assert split(["--references", "a", "b", "--"]).systems == []


@pytest.mark.parametrize("typed", ["--references a x y", "--test bs --references a x y -o f", "--references a -- x y"])
def test_with_nothing_else_to_go_by_the_first_file_is_the_reference(typed: str) -> None:
    references, systems, _ = split(typed.split())
    assert (references, systems) == (["a"], ["x", "y"])


def test_what_was_guessed_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    split(["--references", "a", "x"])
    split(["--references", "a", "--", "x", "y"])
    assert capsys.readouterr().err == ""
    split(["--references", "a", "x", "y"])
    assert "a as the only reference" in capsys.readouterr().err


def test_the_value_of_an_option_is_no_file() -> None:
    names = [name for action in arguments()._actions if action.nargs != 0 for name in action.option_strings]
    assert "--sources" in names
    for name in names:
        assert split(["x", name, "value", *ONE]) == (["ref"], ["x"], [name, "value"])


def test_json_has_the_scores_and_p_values_of_sacrebleu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "99")
    args = ("x", "y", "--references", "ref", "ref2", "--samples", "50", "--metrics", "bleu,chrf", "--format", "json")
    content = json.loads(done("compare", *args).out)
    metrics = {"bleu": sacrebleu.BLEU(force=True), "chrf": sacrebleu.CHRF()}
    signatures, expected = PairedTest(
        [(name, TEXTS[name]) for name in "xy"], metrics, [RIGHT, TEXTS["ref2"]], "bs", 50
    )()
    for ours, theirs in zip(metrics, signatures, strict=True):
        assert content["metrics"][ours]["signature"] == str(signatures[theirs])
        results = [system["scores"][ours] for system in content["systems"]]
        assert [r["score"] for r in results] == [r.score for r in expected[theirs]]
        assert [r["p"] for r in results] == [r.p_value for r in expected[theirs]]


def test_the_table_shows_what_the_json_holds() -> None:
    args = (*ONE, "--metrics", "all", "--samples", "20", "--", "x", "y", "seeds=s1,s2")
    content, table = json.loads(done("compare", *args, "--format", "json").out), done("compare", *args).out
    assert list(content["metrics"]) == list(MEASURES)
    for name, title in MEASURES.items():
        (group,) = re.findall(rf"^{re.escape(title)} [↑↓] +(x .*\n.*\n.*)$", table, re.MULTILINE)
        for line, system in zip(group.splitlines(), content["systems"], strict=True):
            scores = system["scores"][name]
            numbers = [scores["score"], scores["deviation"], scores["interval"], scores["p"]]
            shown = [f"{n:.{d}f}" for n, d in zip(numbers, (2, 2, 2, 4), strict=True) if n is not None]
            assert line.split()[0] == system["name"]
            assert set(shown) <= set(line.split())
            assert ("*" in line) == (scores["p"] is not None and scores["p"] < 0.05)
        assert content["metrics"][name]["signature"] in table


def test_one_system_has_scores_and_intervals_and_no_comparison() -> None:
    head = done("compare", *ONE, "x", *FAST).out.split("\n\n")[1]
    assert head.split()[:4] == ["metric", "system", "score", "±"]
    assert "best" not in head


def test_equal_outputs_are_not_marked(folder: Path) -> None:
    (folder / "twin").write_bytes((folder / "x").read_bytes())
    table = done("compare", *ONE, "x", "twin", "y", *FAST, "--samples", 100).out.split("\n\n")[1]
    assert re.search(r"twin .* \+0\.00 +0\.00 +0\.0099 *", table)
    assert [line.split()[0] for line in table.splitlines() if "*" in line] == ["y"]


def test_seeds_are_a_list_or_a_pattern_and_a_file_of_that_name_comes_first(folder: Path) -> None:
    listed = done("compare", *ONE, "x", "s=s1,s2", *FAST).out
    assert listed == done("compare", *ONE, "x", "s=s?", *FAST).out
    assert re.search(r"^ +s +2 .* sd ", listed, re.MULTILINE)
    (folder / "s=s?").write_bytes((folder / "y").read_bytes())
    args = ("--format", "json", *FAST)
    (_, system) = json.loads(done("compare", *ONE, "x", "s=s?", *args).out)["systems"]
    (_, expected) = json.loads(done("compare", *ONE, "x", "y", *args).out)["systems"]
    assert system["scores"] == expected["scores"]


def test_compressed_files_are_read_as_they_are(folder: Path) -> None:
    (folder / "x.gz").write_bytes(gzip.compress((folder / "x").read_bytes()))
    packed = done("compare", *ONE, "n=x.gz", *FAST).out
    assert packed == done("compare", *ONE, "n=x", *FAST).out


def test_differences_show_source_references_and_outputs_on_one_line_each(folder: Path) -> None:
    (folder / "y").write_text("".join([*(line + "\n" for line in TEXTS["y"][:-1]), "\x1b[31m\u2028red\n"]))
    args = ("--sources", "ref2", "--differences", LINES)
    out = done("compare", *ONE, "--", "x", "s=y,s1", *FAST, *args).out
    assert "\x1b" not in out
    _, *blocks = re.split(r"^line ([\d,]+): [\d.]+ chrF apart\n", out, flags=re.MULTILINE)
    assert len(blocks) > LINES  # a number and a block for each of most lines
    for number, block in zip(blocks[:-2:2], blocks[1:-2:2], strict=True):
        if (line := int(number) - 1) < LINES - 1:
            texts = [TEXTS[name][line] for name in ("ref2", "ref", "x", "y")]
            patterns = ["source +", "reference +", r"x +[\d.]+  ", r"s, seed 1 +[\d.]+  "]
            lines = [rf"  {start}{re.escape(text)} *" for start, text in zip(patterns, texts, strict=True)]
            assert re.fullmatch("\n".join(lines), block.rstrip("\n"))


def test_length_is_that_of_the_source_or_else_of_the_reference_and_said() -> None:
    args = ("x", *FAST, "--by_length", "2", "--format", "json", "--length_unit", "characters")
    for sources, text in (((), "ref"), (("--sources", "ref2"), "ref2")):
        found = json.loads(done("compare", *ONE, *args, *sources).out)["by_length"]
        assert found["of"] == ("source" if sources else "first reference") + " in characters"
        assert found["ranges"][-1]["longest"] == max(map(len, TEXTS[text]))


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "json"])
def test_a_file_gets_what_stdout_would(form: str, folder: Path) -> None:
    args = ("compare", "x", "y", *ONE, *FAST, "--by_length", 2, "--format", form)
    done(*args, "-o", "out")
    assert (folder / "out").read_text() == done(*args).out


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("x", "needs --references REF"),
        ("--references ref", "needs a HYP"),
        ("--references ref short", "short has 2 lines and ref has 60: line i of one answers"),
        ("--references ref gone", "gone: no such file"),
        ("--references ref n=x,gone", "gone: no such file"),
        ("--references ref empty", "empty is empty"),
        ("--references ref latin", "latin, line 1: not UTF-8"),
        ("--references ref -- x x", "two systems of the name x"),
        ("--references ref n=s1,s?", "s1 would count twice"),
        ("--references ref x --metrics bleu,rogue", "no metric 'rogue': did you mean rouge?"),
        ("--references ref x --metric bleu", "--metric is not an option of compare: did you mean --metrics?"),
        ("--references ref x --samples 0", "--samples=0: at least 1"),
        ("--references ref x --seed 1.5", "--seed=1.5: a whole number"),
        ("--references ref x --differences 3", "--differences needs two systems"),
        ("x y --references ref --differences 3 --format latex", "--differences prints no LaTeX"),
        ("--references ref x --by_length -1", "--by_length=-1"),
        ("--references ref x -o nowhere/out", "nowhere/out cannot be written"),
        ("--references ref x -o x", "would overwrite"),
        ("--references ref x --tokenize ja-mecab", "tokenizer ja-mecab cannot be used here"),
    ],
)
def test_a_mistake_is_one_line(typed: str, said: str, folder: Path) -> None:
    (folder / "short").write_text("one\ntwo\n")
    (folder / "empty").touch()
    (folder / "latin").write_bytes(b"\xe9t\xe9\n")
    result = command("compare", *typed.split())
    assert (result.code, result.out) == (2, "")
    assert said in result.err.splitlines()[-1]


def test_a_seed_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "x")
    assert "SACREBLEU_SEED=x" in command("compare", *ONE, "x").err


def test_ter_and_rouge_can_be_computed_and_monitored_in_training(config: Path, tmp_path: Path) -> None:
    metrics = ["--evaluation.metrics+=TER", "--evaluation.metrics+=ROUGE"]
    run = fitted(tmp_path / "runs", "--config", config, *metrics, "--checkpoint.monitor", "val/ter")
    scores = json.loads((run.folder / "val_scores.json").read_text())["scores"]
    assert {"ter", "rouge1", "rouge2", "rougeL"} <= set(scores)
    assert run.best.exists()
