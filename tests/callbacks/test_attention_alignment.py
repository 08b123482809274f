"""The alignment error rate of a validation split."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from s2s_lightning.callbacks import AlignmentErrorRate
from s2s_lightning.data import Corpus, Pair, Pretokenized, Seq2SeqData, Word
from s2s_lightning.errors import UserError
from tests.helpers.toy import ToyModule, toy_trainer

PAIRS = (Pair("a b c", ("c b a",)), Pair("h g", ("d e f g",)), Pair("", ("a",)), Pair("e d f h", ("h",)))
GOLD = "0-2 1-1 2p0\n0-0 0p1 1-3\n\n3-0 2?0\n"


class Eight(Corpus):
    """Words of eight kinds, as many as the toy network has."""

    def __init__(self, pairs: tuple[Pair, ...] = PAIRS) -> None:
        self.pairs = pairs

    def has(self, split: str) -> bool:
        return split != "test"

    def read(self, split: str) -> Iterator[Pair]:
        return iter(PAIRS if split == "train" else self.pairs)

    def fingerprint(self, split: str) -> str:
        return repr((split, self.pairs))


def validated(folder: Path, gold: str, module: ToyModule | None = None, **options: object) -> tuple[float, ToyModule]:
    """The logged rate in percent, and the module."""
    (folder / "gold").write_text(gold)
    settings = {name: options.pop(name) for name in ("layer", "head", "one_based") if name in options}
    corpus, tokenizer = Eight(options.pop("pairs", PAIRS)), options.pop("tokenizer", Pretokenized())
    data = Seq2SeqData(corpus, tokenizer, batch_size=2, cache_dir=str(folder / "cache"), **options)
    callback = AlignmentErrorRate(str(folder / "gold"), **settings)
    module = module or ToyModule()
    trainer = toy_trainer(folder, callbacks=[callback])
    trainer.validate(module, datamodule=data, verbose=False)
    return trainer.callback_metrics.get("val/alignment_error_rate", torch.tensor(torch.nan)).item(), module


def slow(module: ToyModule, data: Seq2SeqData, head: int) -> float:
    """Och & Ney (2003), over sets, a pair at a time; a token is a word here."""
    right = total = 0
    gold = [
        ({(0, 2), (1, 1)}, {(0, 2), (1, 1), (2, 0)}),
        ({(0, 0), (1, 3)}, {(0, 0), (0, 1), (1, 3)}),
        (set(), set()),
        ({(3, 0)}, {(3, 0), (2, 0)}),
    ]
    for pair, (sure, possible) in zip(PAIRS, gold, strict=True):
        (batch,) = data.encode_pairs([pair.src], [pair.refs[0]])
        weights = module.model.teacher_force(batch, need_weights=True).attention[0, 0, head].tolist()
        words = list(range(len(pair.src.split())))
        if data.tokenizers.reverse_source:
            words.reverse()
        links = set()
        for j in range(len(pair.refs[0].split())):
            if words:
                links.add((words[max(range(len(words)), key=lambda s: weights[j][s])], j))
        right += len(links & sure) + len(links & possible)
        total += len(links) + len(sure)
    return 100 * (1 - right / total)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_rate_of_a_run_is_that_of_a_loop(tmp_path: Path, reverse: bool) -> None:
    rate, module = validated(tmp_path, GOLD, reverse_source=reverse, head=1)
    data = Seq2SeqData(Eight(), Pretokenized(), batch_size=2, cache_dir=str(tmp_path / "cache"), reverse_source=reverse)
    assert rate == pytest.approx(slow(module, data, 1), abs=1e-9)
    rows = list(csv.DictReader((tmp_path / "alignment.csv").open()))
    assert [(row["layer"], row["head"]) for row in rows] == [("0", "0"), ("0", "1")]
    assert float(rows[1]["alignment_error_rate"]) == pytest.approx(rate, rel=1e-5)


def test_nothing_is_computed_without_gold(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, callbacks=[AlignmentErrorRate()])
    data = Seq2SeqData(Eight(), Pretokenized(), cache_dir=str(tmp_path / "cache"))
    trainer.validate(ToyModule(), datamodule=data, verbose=False)
    assert not trainer.callback_metrics


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        ("0-0\n", "has 1 lines, but the validation split 4 pairs"),
        (GOLD.replace("0-2", "0-3"), "line 1: a link of words 0 and 3"),
        (GOLD.replace("0-2", "zero"), "line 1: 'zero' is no link"),
    ],
)
def test_gold_that_does_not_fit_is_refused_before_validation(tmp_path: Path, gold: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        validated(tmp_path, gold)


def test_a_head_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--alignment\.head=2"):
        validated(tmp_path, GOLD, head=2)


def test_a_family_without_attention_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rate, _ = validated(tmp_path, GOLD, ToyModule(attends=False))
    assert torch.tensor(rate).isnan()
    assert capsys.readouterr().out.count("no alignment error rate") == 1


def test_a_pair_whose_tokens_are_other_words_is_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    glued = "a b,c d"  # three words, of which this tokenizer makes five
    rate, _ = validated(tmp_path, GOLD, pairs=(Pair(glued, PAIRS[0].refs), *PAIRS[1:]), tokenizer=Word())
    assert "1 of 4 pairs are left out" in capsys.readouterr().out
    assert 0 <= rate <= 100
