"""score: a line out for each pair in, in their order, and totals that do not depend on how it was batched."""

import gzip
import io
import json
import math
import sys
from pathlib import Path

import pytest

import s2s_lightning
from s2s_lightning.cli.commands import score
from s2s_lightning.inference.target_scores import Scored, Total
from tests.cli.conftest import Result, Run, command, done

PAIRS = [
    ("1 2 3", "1 2 3"),
    ("", ""),
    ("4", "4 4 4 4 4 4 4"),
    ("5 6 7 1", ""),
    ("1 2 3", "3 x\u2028y"),
    ("1", "2 </s>"),
]


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    """Both files, the source compressed."""
    src, tgt = tmp_path / "src.gz", tmp_path / "tgt"
    with gzip.open(src, "wb") as file:
        file.write("".join(s + "\n" for s, _ in PAIRS).encode())
    tgt.write_bytes("".join(t + "\n" for _, t in PAIRS).encode())
    return src, tgt


def rows(text: str) -> list[list[float]]:
    return [[float(x) for x in line.split("\t")] for line in text.split("\n")[:-1]]


def test_each_pair_has_its_line_whatever_is_batched_with_it(
    trained: Run, sides: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "WINDOW", 4)
    found = rows(done("score", trained.last, *sides, "--max_tokens", 8).out)
    model = s2s_lightning.load(trained.last)
    for (src, tgt), row in zip(PAIRS, found, strict=True):
        (alone,) = model.score([src], [tgt])
        assert row == pytest.approx([alone.log_prob, len(alone.tokens), alone.average], abs=1e-4)


def test_tokens_are_the_terms_of_the_sum(trained: Run, sides: tuple[Path, Path]) -> None:
    lines = done("score", trained.last, *sides, "--tokens").out.split("\n")[:-1]
    sums = rows(done("score", trained.last, *sides).out)
    for line, (log_prob, count, average), (_, tgt) in zip(lines, sums, PAIRS, strict=True):
        content = json.loads(line)
        assert content["tokens"][-1] == "</s>"
        assert len(content["tokens"]) == len(content["log_probs"]) == count == len(plain_words(tgt)) + 1
        assert sum(content["log_probs"]) == pytest.approx(log_prob, abs=1e-5)
        assert average == pytest.approx(log_prob / count, abs=1e-5)
        assert content["unknown"] == content["tokens"].count("<unk>")


def plain_words(text: str) -> list[str]:
    """What stands between plain spaces: other white space is part of a ready-made token."""
    return [word for word in text.split(" ") if word]


def piped(monkeypatch: pytest.MonkeyPatch, text: str, *args: object) -> Result:
    """The command with a text on its stdin."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    return command("score", *args)


@pytest.mark.parametrize("dash", [[], ["-"]])
def test_pairs_come_from_stdin_too(
    trained: Run, sides: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, dash: list[str]
) -> None:
    text = "".join(f"{src}\t{tgt}\n" for src, tgt in PAIRS)
    assert piped(monkeypatch, text, trained.last, *dash).out == done("score", trained.last, *sides).out


def test_one_column_is_an_output_behind_an_empty_source(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    result = piped(monkeypatch, "1 2\n\n", trained.last)
    assert "stdin has no tab: each line is an output behind an empty source" in result.err
    assert result.out == piped(monkeypatch, "\t1 2\n\t\n", trained.last).out


def test_an_empty_file_gives_no_line(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    result = piped(monkeypatch, "", trained.last)
    assert (result.code, result.out) == (0, "")
    assert "there was no pair to score" in result.err


def test_the_totals_are_those_of_the_lines(trained: Run, sides: tuple[Path, Path]) -> None:
    result = done("score", trained.last, *sides)
    said = {name.strip(): value for name, value in (line.rsplit("  ", 1) for line in result.err.split("\n")[-7:-1])}
    found = rows(result.out)
    total, tokens = (sum(column) for column in list(zip(*found, strict=True))[:2])
    size = sides[1].stat().st_size
    assert said["pairs"] == f"{len(PAIRS)}"
    assert said["tokens"] == f"{tokens:.0f}, 2 of them unknown"  # x and y around U+2028, and a literal </s>
    assert float(said["log-probability"]) == pytest.approx(total, abs=1e-3)
    assert float(said["perplexity per token"]) == pytest.approx(math.exp(-total / tokens), abs=1e-3)
    assert float(said["perplexity per byte"]) == pytest.approx(math.exp(-total / size), abs=1e-3)


def test_perplexity_per_word_and_byte_do_not_know_the_tokenizer() -> None:
    """One probability, cut into one piece or into four."""
    totals = []
    for pieces in (1, 4):
        total = Total()
        total.add("ab cd", Scored(["x"] * pieces, [-2.0 / pieces] * pieces, 0))
        totals.append(total)
    coarse, fine = totals
    assert (coarse.words, coarse.bytes) == (fine.words, fine.bytes) == (3, 6)
    assert coarse.perplexity(coarse.bytes) == fine.perplexity(fine.bytes) == math.exp(2 / 6)
    assert coarse.perplexity(coarse.tokens) > fine.perplexity(fine.tokens)


def test_a_perplexity_beyond_a_float_is_infinite() -> None:
    total = Total()
    total.add("", Scored(["</s>"], [-1e4], 0))
    assert total.perplexity(total.tokens) == math.inf


STDIN = {
    "1\t2\n3\n": "stdin, line 2: 0 tabs, and it must be source, tab, output",
    "1\n2\t3\n": "stdin, line 2: 1 tabs, and it must be an output alone, as in line 1",
    "1\t2\t3\n": "stdin, line 1: 2 tabs, and it must be source, tab, output",
}


@pytest.mark.parametrize(("text", "said"), STDIN.items(), ids=["missing", "more", "three"])
def test_a_line_with_another_number_of_columns_is_named(
    trained: Run, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    result = piped(monkeypatch, text, trained.last)
    assert result.code == 2
    assert said in result.err


def test_files_of_unlike_length_are_refused_before_any_work(trained: Run, sides: tuple[Path, Path]) -> None:
    sides[1].write_text("1\n")
    result = command("score", trained.last, *sides)
    assert (result.code, result.out) == (2, "")
    assert result.err.count("\n") == 1
    assert f"{sides[0]} has 6 lines and {sides[1]} 1:" in result.err


REFUSED = {
    "missing.ckpt": "there is no checkpoint missing.ckpt",
    "LAST missing.txt": "missing.txt: no such file",
    "LAST LAST LAST more": "'more' is one too many: score takes CHECKPOINT and SRC and TGT",
    "LAST --token": "--token is not an option of score: did you mean --tokens?",
    "LAST --max_tokens 0": "--max_tokens=0: it must be 1 or more",
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.items(), ids=REFUSED)
def test_score_refuses_in_one_line(trained: Run, monkeypatch: pytest.MonkeyPatch, arguments: str, said: str) -> None:
    words = [{"LAST": trained.last}.get(word, word) for word in arguments.split()]
    result = piped(monkeypatch, "", *words)
    assert result.code == 2
    assert said in result.err
    assert result.err.count("\n") == 1
