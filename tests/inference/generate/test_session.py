"""What is said about outputs: unknown words, attention, log-probabilities. The networks are random."""

from typing import Any

import pytest
import torch
from torch import Tensor

from s2s_lightning import EOS, UNK
from s2s_lightning.callbacks.attention.attention_maps import force_decode
from s2s_lightning.data import BPE, Seq2SeqData, Word
from s2s_lightning.data.tokenizers import Tokenizer
from s2s_lightning.data.vocabularies import Tokenizers
from s2s_lightning.decoding import Beam, Decoding, Hypothesis, Network
from s2s_lightning.decoding.force_decode import Focus
from s2s_lightning.decoding.search import Demands
from s2s_lightning.errors import UserError
from s2s_lightning.families import LSTM, Transformer
from s2s_lightning.inference.generate import session
from s2s_lightning.inference.generate.requests import Request
from s2s_lightning.inference.generate.session import Session, Setup, Wanted
from s2s_lightning.inference.trained import Trained
from s2s_lightning.training.module import Seq2SeqModule

KNOWN = ["the cat sat on a mat", "die Katze saß auf einer Matte", "unk <unk>"]
SOURCE = "the Zyx sat on Qwerty"


class Says(Decoding):
    """The same tokens, whatever the source is."""

    def __init__(self, *tokens: int) -> None:
        self.tokens = tokens

    def __call__(
        self,
        model: Network,
        src: Tensor,
        src_padding: Tensor,
        src_copy: Tensor | None = None,
        demands: Demands = Demands(),
    ) -> list[list[Hypothesis]]:
        return [[Hypothesis(list(self.tokens), 0.0, 0.0, True)] for _ in src]


def trained(tokenizer: Tokenizer, reverse_source: bool = False, family: type[Seq2SeqModule] = Transformer) -> Trained:
    tokenizer.train(KNOWN)
    data = Seq2SeqData()
    data._tokenizers = Tokenizers(tokenizer, None, reverse_source)
    torch.manual_seed(0)
    small: dict[str, Any] = {"num_heads": 2, "d_ff": 16} if family is Transformer else {"d_embedding": 8}
    module = family(data.src_vocab_size, d_model=8, **small).double()
    for parameter in module.parameters():  # attention that prefers something
        torch.nn.init.normal_(parameter)
    return Trained(module, data, {})


def begin(model: Trained, wanted: Wanted, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr(session, "load", lambda *_: model)
    return Session(Setup("a checkpoint", {}, wanted=wanted))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("focus", [Focus(), Focus(-1, 0)])
def test_an_unknown_word_becomes_the_source_word_with_the_most_attention(
    monkeypatch: pytest.MonkeyPatch, reverse: bool, focus: Focus
) -> None:
    model = trained(Word(), reverse)
    asked = begin(model, Wanted(replace_unknown=True, focus=focus), monkeypatch)
    (cat,) = model.data.tokenizers.src.encode(["cat"])[0]
    said = [UNK, cat, UNK, UNK]
    asked.decoding = Says(*said)
    ((answer,), (plain,)) = asked.answer([Request(SOURCE), Request("the cat sat")])

    words = SOURCE.split()[:: -1 if reverse else 1]
    ids = [model.data.tokenizers.src.encode([word])[0][0] for word in words]
    drawn = force_decode(model.module.model, [*ids, EOS], said, True, device=model.module.device)
    chosen = focus.reduce(drawn.weights)[:4, :-1].argmax(1).tolist()
    expected = [words[i] for i in chosen]
    assert answer.output.text.split() == [expected[0], "cat", *expected[2:]]
    assert answer.tokens[:4] == answer.output.text.split()
    assert set(plain.output.text.split()) <= {"the", "cat", "sat"}


def test_an_empty_source_has_no_word_for_an_unknown_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = begin(trained(Word()), Wanted(replace_unknown=True, alignment=True), monkeypatch)
    asked.decoding = Says(UNK)
    ((answer,),) = asked.answer([Request("")])
    assert (answer.output.text, answer.alignment) == ("<unk>", [])


def test_pieces_of_words_are_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="needs tokenizers of words"):
        begin(trained(BPE(300)), Wanted(replace_unknown=True), monkeypatch)


@pytest.mark.parametrize("wanted", [Wanted(alignment=True), Wanted(weights=True), Wanted(replace_unknown=True)])
def test_a_family_without_attention_says_so(monkeypatch: pytest.MonkeyPatch, wanted: Wanted) -> None:
    with pytest.raises(UserError, match="LSTM has no attention over the source"):
        begin(trained(Word(), family=LSTM), wanted, monkeypatch)


@pytest.mark.parametrize("family", [Transformer, LSTM])
@pytest.mark.parametrize("max_length", [3, 40])
def test_what_force_decoding_says_of_each_token_is_what_the_search_added(
    family: type[Seq2SeqModule], max_length: int
) -> None:
    model, search = trained(BPE(300), family=family), Beam(3, n_best=3, max_length=max_length)
    for text, outputs in zip(KNOWN, model.search(KNOWN, search), strict=True):
        for output, explanation in zip(outputs, model.explain([text] * 3, outputs, search), strict=True):
            assert sum(explanation.log_probs) == pytest.approx(output.log_prob, abs=1e-9)
            assert len(explanation.tokens) == len(output.ids) + output.finished


def test_attention_is_in_the_order_of_the_text_whichever_way_it_is_read() -> None:
    text = "the cat sat on"
    plain, reverse = trained(Word()), trained(Word(), reverse_source=True)
    backwards = " ".join(reversed(text.split()))
    (output,) = plain.search([backwards], Says(5, 6, 7))[0]
    (read,) = plain.explain([backwards], [output], attention=True)
    (turned,) = reverse.explain([text], [output], attention=True)
    assert turned.source == [*text.split(), "</s>"]
    assert read.attention is not None
    assert turned.attention is not None
    torch.testing.assert_close(turned.attention[..., :-1].flip(-1), read.attention[..., :-1])
    torch.testing.assert_close(turned.attention[..., -1], read.attention[..., -1])
