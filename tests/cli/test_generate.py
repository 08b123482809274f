"""generate: one line out for each line in, in their order, and what else can be asked of it."""

import io
import json
import sys
from pathlib import Path

import pytest

import s2s_lightning
from s2s_lightning.cli.commands import generate
from s2s_lightning.decoding import Beam, Sampling
from s2s_lightning.inference.trained import Trained
from tests.cli.conftest import Run, command, done

LINES = ["1 2 3", "", "4", "5 6 7 1 2 3 4", "1 2 3", "one\u2028line \u0085", "a</s> \x00", "1\r2", " \t"]
BLANK = [not line.strip() for line in LINES]
BEAM = ["--decoding", "Beam", "--decoding.beam_size", "3"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_bytes("".join(line + "\n" for line in LINES).encode())
    return path


@pytest.fixture(scope="module")
def model(trained: Run) -> Trained:
    return s2s_lightning.load(trained.last)


def alone(model: Trained, search: Beam | None = None) -> list[str]:
    """What is expected of each line: its output when it is asked for alone, none if it is blank."""
    asked = zip(LINES, BLANK, strict=True)
    return ["" if blank else model.generate([line], search)[0] for line, blank in asked]


def output(trained: Run, *args: object) -> list[str]:
    """The lines of stdout."""
    lines = done("generate", trained.last, *args).out.split("\n")
    assert lines.pop() == ""
    return lines


def objects(trained: Run, *args: object) -> list[dict[str, object]]:
    return [json.loads(line) for line in output(trained, *args, "--output_format", "jsonl")]


def refused(trained: Run, *args: object) -> str:
    """The one line on stderr."""
    result = command("generate", trained.last, *args)
    assert result.code == 2
    assert result.err.count("\n") == 1
    return result.err


def test_each_line_has_its_line_whatever_is_batched_with_it(trained: Run, text: Path, model: Trained) -> None:
    assert output(trained, text, "--max_tokens", 8, "--window", 2) == alone(model)


def test_stdin_and_stdout_are_the_defaults(
    trained: Run, text: Path, model: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.read_bytes())))
    assert output(trained) == alone(model)


def test_an_empty_file_gives_no_line(trained: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert output(trained, tmp_path / "empty") == []


def test_a_byte_order_mark_and_the_ends_of_lines_of_windows_are_no_text(
    trained: Run, tmp_path: Path, model: Trained
) -> None:
    (tmp_path / "windows").write_bytes(b"\xef\xbb\xbf1 2\r\n\r\n3")
    assert output(trained, tmp_path / "windows") == [*model.generate(["1 2"]), "", *model.generate(["3"])]


def test_the_model_is_asked_about_a_blank_line_where_that_is_wanted(
    trained: Run, text: Path, model: Trained, tmp_path: Path
) -> None:
    short = ["--decoding", "Greedy", "--decoding.min_length", "3"]
    said = output(trained, text, "--blank", "model", *short)
    assert all(said)
    (tmp_path / "prefixes").write_text("1 2\n" * len(LINES))
    assert all(line.startswith("1 2") for line in output(trained, text, "--prefixes", tmp_path / "prefixes"))


def test_the_search_can_be_changed(trained: Run, text: Path, model: Trained) -> None:
    assert output(trained, text, *BEAM, "--decoding.max_length=2") == alone(model, Beam(3, max_length=2))


def test_n_best_lists_are_those_of_the_search(trained: Run, text: Path, model: Trained) -> None:
    expected = []
    for i, (line, blank) in enumerate(zip(LINES, BLANK, strict=True)):
        (found,) = model.search([line], Beam(3, n_best=2))
        expected += [[str(i), "", 0.0]] if blank else [[str(i), best.text, best.score] for best in found]
    rows = [line.split(" ||| ") for line in output(trained, text, *BEAM, "--n_best", 2)]
    assert [row[:2] for row in rows] == [row[:2] for row in expected]
    assert [float(row[2]) for row in rows] == pytest.approx([row[2] for row in expected], abs=1e-5)
    scored = [line.split(" ||| ") for line in output(trained, text, *BEAM, "--scores")]
    best = {row[0]: row[1:] for row in reversed(rows)}
    assert [columns[:2] for columns in scored] == [best[str(i)] for i in range(len(LINES))]


def test_the_outputs_of_a_search_that_gives_several_are_all_written(trained: Run, text: Path, model: Trained) -> None:
    samples = ["--decoding", "Sampling", "--decoding.num_samples", "3"]
    rows = [line.split(" ||| ")[1] for line in output(trained, text, *samples) if line.startswith("3 ||| ")]
    assert rows == [sample.text for sample in model.search([LINES[3]], Sampling(num_samples=3))[0]]
    assert len(output(trained, text, *samples, "--n_best", 1)) == len(LINES)


def test_token_scores_are_those_that_the_search_has_added(trained: Run, text: Path) -> None:
    for limit in (2, 50):  # some are cut, and some end
        short = [*BEAM, f"--decoding.max_length={limit}", "--n_best", 2]
        rows = objects(trained, text, *short, "--token_scores")
        outputs = [best for row in rows for best in row["outputs"]]  # type: ignore[attr-defined]
        assert len(outputs) == 2 * len(LINES) - sum(BLANK)
        for best in outputs:
            assert sum(best["token_log_probs"]) == pytest.approx(best["log_prob"], abs=1e-4)
            assert len(best["tokens"]) == len(best["token_log_probs"])
            assert (best["tokens"][-1:] == ["</s>"]) == (best["finished"] and best["log_prob"] != 0)


def test_alignments_point_at_the_source_token_with_the_most_attention(trained: Run, text: Path, model: Trained) -> None:
    rows = objects(trained, text, "--alignments", "--layer", 0, "--head", -1)
    for line, row in zip(LINES, rows, strict=True):
        (best,) = row["outputs"]  # type: ignore[misc, attr-defined]
        if not line.strip():
            assert best["alignment"] == []
            continue
        (explanation,) = model.explain([line], model.search([line])[0], attention=True)
        assert explanation.attention is not None
        weights = explanation.attention[0, -1]
        assert best["source_tokens"] == explanation.source
        assert all(weights[j, i] == weights[j, :-1].max() for i, j in best["alignment"])
        assert [j for _, j in best["alignment"]] == list(range(len(best["tokens"]) - best["finished"]))
    in_text = [line.split(" ||| ") for line in output(trained, text, "--alignments", "--layer", 0, "--head", -1)]
    written = [" ".join(f"{i}-{j}" for i, j in row["outputs"][0]["alignment"]) for row in rows]  # type: ignore[index]
    assert [columns[-1] for columns in in_text] == written


@pytest.mark.parametrize(("kind", "begins"), [("png", b"\x89PNG"), ("html", b"<!doctype html>"), ("npz", b"PK")])
def test_attention_is_drawn_of_the_first_lines(
    trained: Run, text: Path, tmp_path: Path, kind: str, begins: bytes
) -> None:
    folder = tmp_path / "attention"
    plain = output(trained, text)
    chosen = ["--attention", folder, "--attention_format", kind, "--attention_lines", 4]
    assert output(trained, text, *chosen) == plain
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"{i:06d}.{kind}" for i in range(4) if not BLANK[i]]
    for file in files:
        assert file.read_bytes().startswith(begins)
        assert kind != "html" or b"//" not in file.read_bytes()  # it needs no network


def test_requests_come_as_json_too(trained: Run, tmp_path: Path, model: Trained) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text('{"text": "1 2", "id": 7}\n{"text": "3", "prefix": "5 5"}\n{"text": ""}\n')
    said = output(trained, path, "--input_format", "jsonl")
    assert said == [*model.generate(["1 2"]), *model.generate(["3"], prefixes=["5 5"]), ""]
    assert said[1].startswith("5 5")
    path.write_text('{"text": "1 2"}\n{"txt": "3"}\n')
    assert "requests.jsonl, line 2: not a request" in refused(trained, path, "--input_format", "jsonl")


def test_one_prefix_serves_all_lines(trained: Run, text: Path) -> None:
    assert all(line.startswith("3 1") for line in output(trained, text, "--prefix", "3 1"))
    assert "'nowhere' cannot be asked for" in refused(trained, text, "--prefix", "nowhere")


def test_a_search_that_would_ignore_constraints_is_refused(trained: Run, text: Path, tmp_path: Path) -> None:
    (tmp_path / "phrases").write_text("1 2\t3\n" * len(LINES))
    assert "Greedy would ignore constraints" in refused(trained, text, "--constraints", tmp_path / "phrases")


def test_a_file_beside_the_input_has_a_line_for_each(trained: Run, text: Path, tmp_path: Path) -> None:
    for count in (len(LINES) - 1, len(LINES) + 1):
        (tmp_path / "prefixes").write_text("1\n" * count)
        assert f"ends before line {min(count, len(LINES)) + 1}" in refused(
            trained, text, "--prefixes", tmp_path / "prefixes"
        )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--prefix", "a", "--prefixes", "b"], "leave one of them out"),
        (["--overwrite"], "add -o FILE"),
        (["--layer", 1], "choose attention for --alignments"),
        (["--alignments", "--head", 5], "--head=5: the decoder has 2"),
        (["--window", 0], "--window=0: it must be 1 or more"),
        (["--n_bst", 2], "did you mean --n_best?"),
        (["--n_best", 2], "but of Beam and ConstrainedBeam and DiverseBeam and MBR: add --decoding Beam before it"),
        (["--quantize", "int8", "--dtype", "bfloat16"], "exclude each other"),
    ],
)
def test_options_that_could_not_take_effect_are_refused(
    trained: Run, text: Path, args: list[object], said: str
) -> None:
    assert said in refused(trained, text, *args)


def test_bytes_that_are_no_utf8_are_named_by_their_line(trained: Run, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"1 2\n\xe9t\xe9\n")
    assert "latin, line 2: not UTF-8" in refused(trained, tmp_path / "latin")


def test_outputs_that_never_end_are_cut_and_counted(trained: Run, text: Path) -> None:
    long = ["--decoding", "Greedy", "--decoding.min_length", "4", "--decoding.max_length", "4"]
    result = done("generate", trained.last, text, *long)
    assert f"{len(LINES) - sum(BLANK)} outputs did not end" in result.err


def test_long_sources_are_split_truncated_or_refused(trained: Run, text: Path, model: Trained) -> None:
    limit = ["--max_source_length", 4]
    result = done("generate", trained.last, text, *limit)
    split = result.out.split("\n")
    assert "1 sources of more than 4 tokens: --long split" in result.err
    assert split[3] == " ".join(model.generate(["5 6 7 1", "2 3 4"]))
    assert output(trained, text, *limit, "--long", "truncate")[3] == model.generate(["5 6 7 1"])[0]
    assert "line 4: 7 tokens" in refused(trained, text, *limit, "--long", "error")


def test_smaller_numbers_generate_too(trained: Run, text: Path, model: Trained) -> None:
    for numbers in (["--dtype", "bfloat16"], ["--quantize", "int8"]):
        rows = objects(trained, text, *numbers, "--device", "cpu", "--prefix", "1 2 3", "--token_scores")
        exact = objects(trained, text, "--prefix", "1 2 3", "--token_scores")
        for row, right in zip(rows, exact, strict=True):
            said, expected = row["outputs"][0], right["outputs"][0]  # type: ignore[index]
            assert said["token_log_probs"][:3] == pytest.approx(expected["token_log_probs"][:3], abs=0.1)
    assert "weights; embeddings," in done("generate", trained.last, text, *numbers, "--device", "cpu").err


def test_what_is_typed_at_a_terminal_is_answered_at_once(
    trained: Run, model: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    typed = iter(["1 2", KeyboardInterrupt(), " ", "3"])

    def read(prompt: str) -> str:
        line = next(typed, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("S2S_LIGHTNING_CACHE", str(tmp_path))
    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert output(trained, "--prefix", "5") == model.generate(["1 2", "3"], prefixes=["5", "5"])
    assert "at a prompt there are no files" in refused(trained, "--attention", tmp_path)


def test_the_help_needs_nothing_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit):
        generate.run("generate", ["--help"])
