"""Law 18, and that no text can spell a special id."""

import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors, trainers

from s2s_lightning import BOS, EOS, PAD, UNK
from s2s_lightning.data import (
    BPE,
    Bytes,
    Characters,
    Pretokenized,
    Tokenizer,
    TokenizerFile,
    Unigram,
    Word,
    WordPiece,
)
from s2s_lightning.data.tokenizers import thaw
from s2s_lightning.errors import UserError

HARD = [
    "",
    " ",
    "  two  spaces, and one behind ",
    "a literal </s> and <unk>, <pad> or <s> in the text",
    " </s> ",
    "👩‍👩‍👧 family of code points 🇩🇪",
    "שלום עולם",
    "مرحبا بالعالم",
    "e\u0301 combining, é composed",
    "नमस्ते दुनिया",
    "NUL \0, NEL \u0085, LS \u2028, tab\t.",
    "你好世界",
    "▁ Ġ ## @@",
]
PLAIN = ["the cat sat on the mat", "the dog, the cat and the mat", "a dog sat"]
TEXTS = (HARD + PLAIN) * 4

LOSSLESS: list[Tokenizer] = [Bytes(), BPE(300), BPE(600), Unigram(400), Characters()]
UP_TO_SPACE: list[Tokenizer] = [Word(), WordPiece(400), Pretokenized()]


def trained(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.train(TEXTS)
    return tokenizer


def name(tokenizer: Tokenizer) -> str:
    return type(tokenizer).__name__


@pytest.mark.parametrize("tokenizer", LOSSLESS, ids=name)
def test_lossless_tokenizers_give_the_text_back(tokenizer: Tokenizer) -> None:
    assert trained(tokenizer).decode(tokenizer.encode(HARD)) == HARD


@pytest.mark.parametrize("tokenizer", UP_TO_SPACE, ids=name)
def test_word_tokenizers_give_the_text_back_up_to_white_space(tokenizer: Tokenizer) -> None:
    trained(tokenizer)
    texts = [text for text in HARD if "unk" not in text]
    squeezed = ["".join(text.split()) for text in texts]
    assert ["".join(text.split()) for text in tokenizer.decode(tokenizer.encode(texts))] == squeezed


@pytest.mark.parametrize("tokenizer", [Bytes(), BPE(300), Unigram(400)], ids=name)
def test_nothing_is_unknown_to_tokenizers_of_bytes(tokenizer: Tokenizer) -> None:
    unseen = ["ქართული 🚀 ಠ_ಠ"]
    assert trained(tokenizer).decode(tokenizer.encode(unseen)) == unseen


@pytest.mark.parametrize("tokenizer", LOSSLESS + UP_TO_SPACE, ids=name)
def test_no_text_spells_a_special_id(tokenizer: Tokenizer) -> None:
    spelled = ["<pad>", "<s>", "</s>", " </s> ", " <pad> ", "</s></s>", "[SEP] [CLS]"] * 9
    tokenizer.train(spelled)
    assert not {PAD, BOS, EOS} & {i for row in tokenizer.encode(spelled) for i in row}


@pytest.mark.parametrize("tokenizer", LOSSLESS + UP_TO_SPACE, ids=name)
def test_a_tokenizer_survives_its_state(tokenizer: Tokenizer) -> None:
    ids = trained(tokenizer).encode(HARD)
    again = thaw(json.loads(json.dumps(tokenizer.frozen())))
    assert again.vocab_size == tokenizer.vocab_size
    assert again.encode(HARD) == ids
    assert again.decode(ids) == tokenizer.decode(ids)
    assert again.state() == tokenizer.state()


@pytest.mark.parametrize("tokenizer", LOSSLESS + UP_TO_SPACE, ids=name)
def test_ids_are_below_the_vocabulary_size_and_all_of_them_print(tokenizer: Tokenizer) -> None:
    assert max(i for row in trained(tokenizer).encode(HARD) for i in row) < tokenizer.vocab_size
    pieces = tokenizer.tokens(range(tokenizer.vocab_size))
    assert pieces[:4] == ["<pad>", "<s>", "</s>", "<unk>"]
    assert all(" " not in piece for piece in pieces)


@pytest.mark.parametrize("tokenizer", LOSSLESS + UP_TO_SPACE, ids=name)
def test_special_ids_are_left_out_of_the_text(tokenizer: Tokenizer) -> None:
    (ids,) = trained(tokenizer).encode(["the cat"])
    assert tokenizer.decode([[BOS, *ids, EOS, PAD]]) == tokenizer.decode([ids])


@pytest.mark.parametrize("tokenizer", [Characters(), Word(), Pretokenized(), WordPiece(60)], ids=name)
def test_unknown_symbols_are_unk_and_are_shown(tokenizer: Tokenizer) -> None:
    tokenizer.train(PLAIN)
    (ids,) = tokenizer.encode(["a Ж"])
    assert ids[-1] == UNK
    assert tokenizer.decode([ids])[0].endswith("<unk>")


def test_the_vocabulary_size_and_the_frequency_cut_the_rare_symbols() -> None:
    def symbols(tokenizer: Tokenizer) -> set[str]:
        tokenizer.train(["a a a b b c", "d d d d"])
        return set(tokenizer.tokens(range(4, tokenizer.vocab_size)))

    assert symbols(Pretokenized()) == {"a", "b", "c", "d"}
    assert symbols(Pretokenized(vocab_size=6)) == {"d", "a"}
    assert symbols(Pretokenized(min_frequency=2)) == {"a", "b", "d"}


@pytest.mark.parametrize("kind", [BPE, Unigram, WordPiece])
def test_a_vocabulary_has_the_size_asked_for_where_the_corpus_allows(kind: type[Tokenizer]) -> None:
    tokenizer = kind(vocab_size=300)
    tokenizer.train([f"{word}{i}" for i in range(300) for word in ("lorem", "ipsum", "dolor")])
    assert tokenizer.vocab_size <= 300
    assert tokenizer.vocab_size >= (300 if kind is BPE else 60)


@pytest.mark.parametrize("kind", [BPE, Unigram, WordPiece, Characters, Word, Pretokenized])
def test_lower_case_and_unicode_forms_are_equal_texts(kind: type[Tokenizer]) -> None:
    tokenizer = kind(lowercase=True, normalization="NFKC")
    tokenizer.train(["der Käse ﬁel"] * 5)
    lower, upper = tokenizer.encode(["käse fiel", "KA\u0308SE ﬁel"])
    assert lower == upper
    assert UNK not in lower


def test_a_vocabulary_smaller_than_the_bytes_is_refused() -> None:
    with pytest.raises(UserError, match=r"vocab_size=100.*260"):
        BPE(vocab_size=100)


@pytest.fixture
def bert_like(tmp_path: Path) -> Path:
    """Word level, special tokens at other ids than ours, a template, padding and truncation."""
    backend = tokenizers.Tokenizer(models.WordLevel(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    specials = ["[CLS]", "[UNK]", "[PAD]", "[MASK]", "[SEP]"]
    backend.train_from_iterator(PLAIN, trainers.WordLevelTrainer(special_tokens=specials, show_progress=False))
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 4)]
    )
    backend.enable_truncation(2)
    backend.enable_padding(length=20, pad_id=2, pad_token="[PAD]")
    backend.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_a_given_tokenizer_is_mapped_onto_our_special_ids(bert_like: Path) -> None:
    tokenizer = TokenizerFile(str(bert_like))
    theirs = tokenizers.Tokenizer.from_file(str(bert_like))
    assert tokenizer.vocab_size == theirs.get_vocab_size()
    rows = tokenizer.encode(["the cat sat on the mat", "the [SEP] [CLS] [PAD] Ж", ""])
    assert [len(row) for row in rows] == [6, 5, 0]
    assert rows[1][1:] == [UNK] * 4
    assert min(rows[0]) > UNK
    assert tokenizer.decode(rows)[0] == "the cat sat on the mat"


def test_a_given_tokenizer_travels_without_its_file(bert_like: Path) -> None:
    tokenizer = TokenizerFile(str(bert_like))
    frozen = tokenizer.frozen()
    ids = tokenizer.encode(PLAIN)
    bert_like.unlink()
    assert thaw(frozen).encode(PLAIN) == ids


def test_names_of_special_tokens_may_be_given(bert_like: Path) -> None:
    with pytest.raises(UserError, match=r"eos=<end>.*no such token"):
        TokenizerFile(str(bert_like), eos="<end>").encode(["the"])
    tokenizer = TokenizerFile(str(bert_like), eos="[MASK]")
    assert tokenizer.vocab_size == TokenizerFile(str(bert_like)).vocab_size
    assert tokenizer.encode(["[MASK]"]) == [[UNK]]


@pytest.mark.parametrize("content", [None, "{}"])
def test_a_missing_or_broken_tokenizer_file_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "tok.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"tok\.json"):
        TokenizerFile(str(path)).encode(["a"])
