"""Law 26: a model that says each reference's ids is scored 100, but for counted references; law 24's counts."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from s2s_lightning.data import BPE, Bytes, Characters, Corpus, Pair, Pretokenized, Seq2SeqData, Table, Tokenizer, Word
from s2s_lightning.errors import UserError
from s2s_lightning.evaluation.metrics import corpus_scores
from tests.cli.conftest import CONFIG, done

REFERENCES = [
    ("a b",),
    ("a, b!",),
    ("a  b ",),
    ("cafe\u0301 b",),
    ("A b",),
    ("a z",),
    ("a\u00a0b",),
    ("a z", "b a"),
    ("",),
]


class Listed(Corpus):
    """Letters to learn; each list of references is an item of val."""

    def has(self, split: str) -> bool:
        return split != "test"

    def read(self, split: str) -> Iterator[Pair]:
        if split == "train":
            return iter([Pair("a", (text,)) for text in ("a b café A , !", "a\u00a0b", "cafe\u0301", "  ")])
        return (Pair("a", refs) for refs in REFERENCES)


EXPECTED = [
    (Word(), {"white space": 3, "unknown symbols": 1}),
    (Word(lowercase=True), {"white space": 3, "unknown symbols": 1, "case or Unicode form": 1}),
    (Pretokenized(), {"unknown symbols": 2, "white space": 1}),
    (Characters(), {"unknown symbols": 1}),
    (BPE(300, normalization="NFC"), {"case or Unicode form": 1}),
    (BPE(300, normalization="NFKC"), {"case or Unicode form": 1, "white space": 1}),
    (Bytes(), {}),
]


@pytest.mark.parametrize(("tokenizer", "counts"), EXPECTED, ids=lambda each: type(each).__name__)
def test_what_a_perfect_model_cannot_equal_is_counted_by_reason(
    tmp_path: Path, tokenizer: Tokenizer, counts: dict[str, int]
) -> None:
    data = Seq2SeqData(Listed(), tokenizer, cache_dir=str(tmp_path))
    items = list(range(len(REFERENCES)))
    assert data.unequal("val", items) == counts
    perfect = [
        next((text for text in texts if text in refs), texts[0])
        for refs in REFERENCES
        for texts in [data.decode(data.tokenizers.target.encode(refs))]
    ]
    equal = [index for index in items if not data.unequal("val", [index])]
    scores = corpus_scores([perfect[i] for i in equal], data.references("val", equal))
    assert scores["exact_match"].value == scores["chrf"].value == 100
    assert scores["token_error_rate"].value == scores["sequence_error_rate"].value == 0
    every = corpus_scores(perfect, data.references("val", items))
    assert every["exact_match"].value == pytest.approx(100 * len(equal) / len(items))
    shown = dict(data.summary()).get("val references that no output can equal")
    assert (shown is None) == (not counts)
    assert shown is None or shown.startswith(f"{sum(counts.values())} of {len(items)} (")


def test_a_copied_word_is_no_unknown_symbol(tmp_path: Path) -> None:
    class Copies(Listed):
        def read(self, split: str) -> Iterator[Pair]:
            return iter([Pair("a b", ("a",))] if split == "train" else [Pair("new x", ("new a",)), Pair("x", ("new",))])

    data = Seq2SeqData(Copies(), Word(), Word(), copy=True, cache_dir=str(tmp_path))
    assert data.unequal("val", [0, 1]) == {"unknown symbols": 1}


def test_what_a_reading_skipped_merged_or_found_is_in_the_summary_also_from_the_cache(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a,b\n\n\nc,"d\ne"\na,b\n')
    path = f"{tmp_path}/a.csv"
    for _ in range(2):
        corpus = Table(path, path, group_references=True)
        summary = dict(Seq2SeqData(corpus, Bytes(), cache_dir=f"{tmp_path}/cache").summary())
        assert summary["train: blank lines skipped"] == summary["val: blank lines skipped"] == "2"
        assert summary["train: texts with a line end inside"] == "1"
        assert summary["val: equal references merged"] == "1"
        assert "train: equal references merged" not in summary


def test_text_that_is_none_names_corpus_and_pair_whatever_the_corpus(tmp_path: Path) -> None:
    class Own(Listed):
        def __init__(self, pair: Pair) -> None:
            self.pair = pair

        def read(self, split: str) -> Iterator[Pair]:
            return iter([Pair("a", ("b",)), self.pair])

    for tokenizer in (BPE(300), Bytes()):
        for pair in (Pair("\ud800", ("b",)), Pair("a", ("b", "\udfff")), Pair("a", ()), Pair("a", (3,))):
            with pytest.raises(UserError, match="Own, train, pair 2: "):
                Seq2SeqData(Own(pair), tokenizer, cache_dir=str(tmp_path)).store("train")


def test_each_evaluation_says_how_many_references_no_output_can_equal(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("a b\ta, b!\nb a\tb a\n" * 3)
    (tmp_path / "c.yaml").write_text(CONFIG.split("data:")[0] + "trainer: {max_steps: 1, accelerator: cpu}\n")
    files = [option for split in ("train", "val", "test") for option in (f"--data.corpus.{split}", tmp_path / "a.tsv")]
    begin = ("--config", tmp_path / "c.yaml", "--attention.num_items", 0, "--data.corpus", "Table", *files)
    where = ("--run", tmp_path / "run", "--data.cache_dir", tmp_path / "cache")
    result = done("fit", *begin, "--data.tokenizer", "Word", "--test_best", "true", *where)
    for split in ("val", "test"):
        line = f"{split}: references that no output can equal, which count as wrong: 3 of 6 (white space 3)"
        assert result.out.count(line) == 1
        scores = json.loads((tmp_path / "run" / f"{split}_scores.json").read_text())
        assert scores["unequal_references"] == {"white space": 3}


def test_a_missing_file_of_any_split_is_named_before_a_vocabulary_is_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BPE, "train", None)
    (tmp_path / "a.tsv").write_text("a\tb\n")
    data = Seq2SeqData(Table(f"{tmp_path}/a.tsv", test=f"{tmp_path}/b.tsv"), BPE(300), cache_dir=str(tmp_path))
    with pytest.raises(UserError, match=r"b\.tsv: no such file; did you mean .*a\.tsv"):
        data.prepare()
