"""Searches and their settings, chosen on the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import s2s_lightning
from s2s_lightning.decoding import GNMT, MBR, Beam, Decoding, DiverseBeam, Ensemble, Greedy, Sampling
from s2s_lightning.evaluation.mbr_utilities import BLEU, EditDistance
from s2s_lightning.inference.generate.search import GREEDY, parse_search
from tests.cli.conftest import Run, done

LINES = ["1 2 3", "", "4", "5 6 3 1"]

CHOICES: dict[str, Callable[[], Decoding]] = {
    'Greedy --decoding.bad_words ["1","2"]': lambda: Greedy(bad_words=["1", "2"]),
    "Beam --decoding.no_repeat_ngram 1 --decoding.repetition_penalty 1.2": lambda: Beam(
        no_repeat_ngram=1, repetition_penalty=1.2
    ),
    "Beam --decoding.length_penalty GNMT --decoding.coverage_penalty 0.2": lambda: Beam(
        length_penalty=GNMT(), coverage_penalty=0.2
    ),
    "Sampling --decoding.top_k 5 --decoding.top_p 0.9 --decoding.min_p 0.01 --decoding.typical_p 0.95": lambda: (
        Sampling(top_k=5, top_p=0.9, min_p=0.01, typical_p=0.95)
    ),
    "DiverseBeam --decoding.beam_size 4 --decoding.num_groups 2 --decoding.diversity_strength 1": lambda: DiverseBeam(
        4, num_groups=2, diversity_strength=1.0
    ),
    "MBR": MBR,
    "MBR --decoding.search Beam --decoding.search.beam_size 5 --decoding.search.n_best 5": lambda: MBR(
        Beam(5, n_best=5)
    ),
    "MBR --decoding.search Sampling --decoding.search.num_samples 4 "
    "--decoding.utility s2s_lightning.evaluation.mbr_utilities.BLEU --decoding.utility.tokenize none": lambda: MBR(
        Sampling(num_samples=4), utility=BLEU("none")
    ),
    "MBR --decoding.utility s2s_lightning.evaluation.mbr_utilities.EditDistance": lambda: MBR(utility=EditDistance()),
}


@pytest.mark.parametrize("line", CHOICES)
def test_a_search_of_the_command_line_is_the_one_of_python(trained: Run, line: str) -> None:
    model, search = s2s_lightning.load(trained.last), parse_search(["--decoding", *line.split()], GREEDY)
    assert model.search(LINES, search) == model.search(LINES, CHOICES[line]())


def test_generate_and_evaluation_take_a_nested_search(trained: Run, tmp_path: Path) -> None:
    search = ["--decoding", "MBR", "--decoding.search", "Beam", "--decoding.search.n_best", "5"]
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in LINES))
    done("generate", *search, "--blank", "model", trained.last, tmp_path / "in", "-o", tmp_path / "out")
    expected = s2s_lightning.load(trained.last).generate(LINES, MBR(Beam(n_best=5)))
    assert (tmp_path / "out").read_text().split("\n")[:-1] == expected
    done("test", "--ckpt_path", trained.last, *search, "--trainer.default_root_dir", tmp_path)


@pytest.mark.parametrize("inner", ["", "--decoding.search Beam --decoding.search.beam_size 4"])
def test_n_best_reaches_the_search_inside(trained: Run, tmp_path: Path, inner: str) -> None:
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in LINES))
    search = ["--decoding", "Ensemble", "--decoding.checkpoints", f"[{trained.last}]", *inner.split()]
    done("generate", trained.last, tmp_path / "in", *search, "--blank", "model", "--n_best", 3, "-o", tmp_path / "out")
    numbers = [line.split(" ||| ")[0] for line in (tmp_path / "out").read_text().split("\n")[:-1]]
    assert numbers == [str(i) for i in range(len(LINES)) for _ in range(3)]


def test_a_member_of_an_ensemble_computes_in_the_numbers_of_the_model(trained: Run) -> None:
    model, ensemble = s2s_lightning.load(trained.last, dtype="bfloat16"), Ensemble([trained.last])
    model.generate(LINES, ensemble)
    members = ensemble.network(model.module.model).networks
    assert {p.dtype for member in members for p in member.parameters()} == {torch.bfloat16}
