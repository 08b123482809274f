"""Words that no vocabulary has keep their place in the source, from text to ids and back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from s2s_lightning import BOS, EOS, PAD, UNK
from s2s_lightning.data import BPE, Corpus, Pair, Pretokenized, Seq2SeqData, SymbolTokenizer, Tokenizer
from s2s_lightning.errors import UserError
from s2s_lightning.model import Batch
from tests.helpers.toy import toy_batch, toy_network

PAIRS = [
    Pair("a b a b", ("a b",)),
    Pair("a zoe b zoe max a", ("zoe A max yan zoe",)),
    Pair("", ("a b A",)),
    Pair("zoe", ("max",)),
    Pair("b kim", ("A kim kim b a",)),
]
"""The joint vocabulary has a and b, with those of both sides apart the source's zoe besides, and the target's A."""


class Names(Corpus):
    """The pairs above, in each split."""

    def has(self, split: str) -> bool:
        return True

    def read(self, split: str) -> Iterator[Pair]:
        return iter(PAIRS)


def prepared(root: Path, joint: bool, **options: Any) -> Seq2SeqData:
    src, tgt = (Pretokenized(min_frequency=6), None) if joint else (Pretokenized(min_frequency=3),) * 2
    return Seq2SeqData(Names(), src, tgt, cache_dir=str(root), **{"copy": True, **options})


@pytest.fixture(params=[True, False], ids=["joint", "separate"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Seq2SeqData:
    """With one vocabulary and with two."""
    return prepared(tmp_path, request.param)


def slow_ids(words: list[str], source: list[str], tokenizer: Tokenizer) -> list[int]:
    """The definition, a word at a time."""
    known = {piece: i for i, piece in enumerate(tokenizer.tokens(range(tokenizer.vocab_size))) if i > UNK}
    places = [tokenizer.vocab_size + source.index(word) if word in source else UNK for word in words]
    return [known.get(word, place) for word, place in zip(words, places, strict=True)]


def row(ids: list[int], width: int) -> list[int]:
    return ids + [PAD] * (width - len(ids))


def check(batch: Batch, data: Seq2SeqData, index: int, pair: Pair) -> None:
    """Row ``index`` of a batch against the definition."""
    tokenizer, source, target = data.tokenizers.target, pair.src.split(), pair.refs[0].split()
    tgt = slow_ids(target, source, tokenizer)
    plain = [i if i < tokenizer.vocab_size else UNK for i in tgt]
    assert batch.src_copy[index].tolist() == row([*slow_ids(source, source, tokenizer), EOS], batch.src.shape[1])
    assert batch.tgt_out[index].tolist() == row([*tgt, EOS], batch.tgt_out.shape[1])
    assert batch.tgt_in[index].tolist() == row([BOS, *plain], batch.tgt_in.shape[1])


def test_batches_hold_places_where_the_vocabulary_has_no_word(data: Seq2SeqData) -> None:
    size = data.tokenizers.target.vocab_size
    for loader in (data.train_dataloader(), data.val_dataloader()):
        (batch,) = loader
        assert (batch.src_copy >= size).sum() > 3
        assert (batch.tgt_out >= size).sum() == 5  # zoe, max, zoe, kim, kim
        for index, place in enumerate(batch.rows.tolist()):
            check(batch, data, index, PAIRS[place])


def test_the_source_ids_are_those_of_data_without_copying(data: Seq2SeqData, tmp_path: Path) -> None:
    plain = prepared(tmp_path, data.tokenizers.tgt is None, copy=False)
    (batch,), (other,) = data.val_dataloader(), plain.val_dataloader()
    assert torch.equal(batch.src, other.src)
    assert torch.equal(batch.tgt_in, other.tgt_in)
    assert other.src_copy is None
    assert other.tgt_out.max() < plain.tokenizers.target.vocab_size


def test_raw_text_is_prepared_like_a_split(data: Seq2SeqData) -> None:
    (batch,) = data.val_dataloader()
    (raw,) = data.encode_sources([PAIRS[index].src for index in batch.rows])
    order = raw.rows.argsort()
    assert torch.equal(raw.src_copy[order], batch.src_copy)


def test_places_decode_to_the_words_of_their_source(data: Seq2SeqData) -> None:
    (batch,) = data.val_dataloader()
    index = batch.rows.tolist()
    for text, place in zip(data.decode(batch.src_copy.tolist(), data.sources("val", index)), index, strict=True):
        assert text == PAIRS[place].src
    (text,) = data.decode([batch.tgt_out.tolist()[index.index(4)]], [PAIRS[4].src])
    assert text.replace("<unk>", "A") == "A kim kim b a"


def test_a_place_without_its_source_is_unknown(data: Seq2SeqData) -> None:
    assert data.decode([[data.tokenizers.target.vocab_size + 1]]) == ["<unk>"]


def test_a_place_is_shown_as_its_word_in_pictures(data: Seq2SeqData) -> None:
    size = data.tokenizers.target.vocab_size
    assert data.tgt_tokens([size + 1, UNK], "b kim") == ["kim", "<unk>"]


def test_the_summary_counts_what_can_be_copied(data: Seq2SeqData) -> None:
    shown = dict(data.summary())["train unknown tokens, src + tgt"]
    assert shown.endswith("(5 of them stand in the source)")


def test_pieces_of_words_cannot_be_copied_and_are_not_learnt_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BPE, "train", None)
    data = Seq2SeqData(Names(), BPE(270), cache_dir=str(tmp_path), copy=True)
    with pytest.raises(UserError, match="BPE"):
        data.store("train")


def test_a_model_that_does_not_copy_refuses_places() -> None:
    batch = toy_batch([("ab", "ba")])
    with pytest.raises(UserError, match="this model does not copy"):
        toy_network().teacher_force(batch._replace(src_copy=batch.src))


def test_a_symbol_tokenizer_says_so() -> None:
    assert isinstance(Pretokenized().symbols(), SymbolTokenizer)
    assert BPE(270).symbols() is None


def test_copying_from_a_source_that_is_read_from_its_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="copy=true keeps places in the source, which reverse_source=true turns round"):
        prepared(tmp_path, joint=True, reverse_source=True).train_dataloader()
