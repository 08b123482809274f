"""Law 25: a ``tokenizer.json`` gives its own ids, special tokens included, but for the four fixed ids."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

from s2s_lightning import BOS, EOS, PAD, UNK
from s2s_lightning.data import Seq2SeqData, Table, TokenizerFile
from s2s_lightning.data.tokenizers import thaw
from s2s_lightning.errors import UserError

FIXED = ["<pad>", "<s>", "</s>", "<unk>"]
OWN = ["<2de>", "<2en>", "<sep>", "<extra_id_0>", "[MASK]"]
TEXTS = ["hello world", "the cat sat on the mat", "ein Käse </s> x", "a b c"] * 5
EVERYTHING = {"special_tokens": [*FIXED, *OWN], "show_progress": False}


def byte_level() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.BPE(dropout=None))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, **EVERYTHING))
    return made


def metaspace() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.train_from_iterator(TEXTS, trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", **EVERYTHING))
    return made


def word_piece() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    made.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=80, **EVERYTHING))
    made.add_tokens(["plain added"])
    made.add_special_tokens([AddedToken("<wide>", lstrip=True, rstrip=True, special=True)])
    return made


MAKERS: dict[str, Callable[[], tokenizers.Tokenizer]] = {
    "byte_level": byte_level,
    "metaspace": metaspace,
    "word_piece": word_piece,
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[tokenizers.Tokenizer, TokenizerFile]]:
    """Each file as the library reads it, and ours."""
    made = {}
    for name, make in MAKERS.items():
        path = str(tmp_path_factory.mktemp(name) / "tokenizer.json")
        make().save(path)
        made[name] = tokenizers.Tokenizer.from_file(path), TokenizerFile(path)
    return made


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    parts=st.lists(
        st.sampled_from([*OWN, "<wide>", "plain added", "hello", " world", "cat", " ", "Käse"]) | st.text(max_size=4),
        max_size=6,
    )
)
def test_a_text_has_the_ids_of_the_file_and_is_given_back_as_the_file_does(
    name: str, parts: list[str], pairs: dict[str, tuple[tokenizers.Tokenizer, TokenizerFile]]
) -> None:
    theirs, ours = pairs[name]
    text = "".join(parts)
    (ids,) = ours.encode([text])
    expected = theirs.encode(text, add_special_tokens=False).ids
    names = ours.vocabulary()
    assert [names[i] for i in ids] == [theirs.id_to_token(i) for i in expected]
    assert ours.decode([ids]) == [theirs.decode(expected, skip_special_tokens=False)]


@pytest.mark.parametrize("name", MAKERS)
def test_a_literal_fixed_token_is_text_beside_the_files_own_ones(
    name: str, pairs: dict[str, tuple[tokenizers.Tokenizer, TokenizerFile]]
) -> None:
    _, ours = pairs[name]
    text = "<2de> a </s> b <s><pad><sep>"
    ids = ours.encode([text])[0]
    assert not {PAD, BOS, EOS} & set(ids)
    assert {"<2de>", "<sep>"} <= set(ours.tokens(ids))
    if name == "byte_level":
        assert UNK not in ids
        assert ours.decode([ids])[0].strip() == text


def test_a_frozen_file_keeps_its_special_tokens(pairs: dict[str, tuple[tokenizers.Tokenizer, TokenizerFile]]) -> None:
    for _, ours in pairs.values():
        again = thaw(json.loads(json.dumps(ours.frozen())))
        assert again.encode(["<2de>hello<sep>"]) == ours.encode(["<2de>hello<sep>"])


def test_dropout_of_a_file_is_not_applied(tmp_path: Path) -> None:
    made = byte_level()
    made.model.dropout = 0.9
    made.save(str(tmp_path / "t.json"))
    ours = TokenizerFile(str(tmp_path / "t.json"))
    assert len({str(ours.encode(["hello world the cat"])) for _ in range(20)}) == 1


def test_a_file_without_unk_that_meets_an_unknown_symbol_is_one_line(tmp_path: Path) -> None:
    made = tokenizers.Tokenizer(models.WordLevel({"a": 0, "<pad>": 1}, unk_token="<unk>"))
    made.save(str(tmp_path / "t.json"))
    with pytest.raises(UserError, match=r"t\.json: this tokenizer cannot read a text .*UNK"):
        TokenizerFile(str(tmp_path / "t.json")).encode(["b"])


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[1]", b'{"added_tokens": 3}', b"null", b'{"added_tokens": [{}]}'])
def test_a_file_that_is_no_tokenizer_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.json").write_bytes(content)
    with pytest.raises(UserError, match=r"t\.json: not a tokenizer\.json") as refused:
        TokenizerFile(str(tmp_path / "t.json")).encode(["a"])
    assert "\n" not in str(refused.value)


def test_references_with_language_tags_are_given_back(tmp_path: Path) -> None:
    byte_level().save(str(tmp_path / "t.json"))
    (tmp_path / "a.tsv").write_text("<2de> hello\t world\n<2en> a\t the </s> cat\n")
    path = f"{tmp_path}/a.tsv"
    data = Seq2SeqData(Table(path, path), TokenizerFile(f"{tmp_path}/t.json"), cache_dir=str(tmp_path / "cache"))
    assert data.unequal("val", [0, 1]) == {}
    assert data.src_tokens(data.tokenizers.src.encode(["<2de> hello"])[0])[0] == "<2de>"
