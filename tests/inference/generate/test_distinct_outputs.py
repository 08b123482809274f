"""Lists of n best: their texts differ."""

import warnings

import pytest
import torch

from s2s_lightning.data import BPE, Seq2SeqData
from s2s_lightning.data.vocabularies import Tokenizers
from s2s_lightning.decoding import MBR, Beam, Decoding, Ensemble, Sampling
from s2s_lightning.decoding.distinct_outputs import widened
from s2s_lightning.families import Transformer
from s2s_lightning.inference.generate.answers import Answer, joined
from s2s_lightning.inference.trained import Output, Trained

SHORT = {"max_length": 3}
TEXTS = ["aa", "b", "ab a"]


@pytest.fixture(scope="module")
def model() -> Trained:
    """Return a random network over ``a``, ``b`` and what is made of them, such as ``aa``."""
    tokenizer = BPE(300)
    tokenizer.train(["aa aa ab", "aaaa abab b"] * 3)
    data = Seq2SeqData()
    data._tokenizers = Tokenizers(tokenizer, None, False)
    torch.manual_seed(0)
    module = Transformer(data.src_vocab_size, d_model=8, num_heads=2, d_ff=16).double()
    favoured = [*{i for row in tokenizer.encode(["a", "aa", "aaaa", "ab", "b"]) for i in row}, 2]
    bias = torch.full((data.src_vocab_size,), -30.0, dtype=torch.float64)
    bias[favoured] = 0.0
    step = module.model.step

    def steered(*args: object, **options: object) -> object:
        found = step(*args, **options)  # type: ignore[arg-type]
        return found._replace(log_probs=(found.log_probs + bias).log_softmax(-1))

    module.model.step = steered  # type: ignore[method-assign, assignment]
    return Trained(module, data, {})


def raw(model: Trained, search: Decoding) -> list[list[Output]]:
    search.attach(model.tools)
    return model._found(TEXTS, range(len(TEXTS)), search, (None, None))


@pytest.mark.parametrize("search", [Beam(6, n_best=6, **SHORT), MBR(Beam(12, n_best=12, **SHORT), n_best=5)])
def test_texts_of_a_list_differ_and_a_wider_search_fills_it(model: Trained, search: Decoding) -> None:
    plain = raw(model, search)
    assert any(len({o.text for o in outputs}) < len(outputs) for outputs in plain)  # or nothing is tested
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model.search(TEXTS, search)
    for outputs in found:
        assert len({output.text for output in outputs}) == len(outputs) == search.num_outputs
    assert raw(model, search) == plain  # the search itself is as it was


def test_lists_without_repeats_and_samples_are_those_of_the_search(model: Trained) -> None:
    for search in (Beam(4, **SHORT), Sampling(num_samples=6, **SHORT)):
        assert model.search(TEXTS, search) == raw(model, search)
    beam = Beam(6, n_best=6, **SHORT)
    for outputs, before in zip(model.search(TEXTS, beam), raw(model, beam), strict=True):
        if len({output.text for output in before}) == len(before):
            assert outputs == before


def test_a_sentence_that_has_fewer_outputs_is_counted(model: Trained) -> None:
    with pytest.warns(UserWarning, match="3 of 3 sentences have fewer than 400 different outputs"):
        found = model.search(TEXTS, Beam(400, n_best=400, max_length=1))
    assert all(len({output.text for output in outputs}) == len(outputs) < 400 for outputs in found)


def test_a_search_around_a_beam_is_widened_and_one_around_samples_is_not() -> None:
    inner = Beam(3, n_best=2)
    wide = widened(Ensemble(["x.ckpt"], search=inner), 4)
    assert isinstance(wide, Ensemble)
    assert isinstance(wide.search, Beam)
    assert (wide.num_outputs, wide.search.beam_size, wide.search.n_best) == (8, 12, 8)
    assert (inner.beam_size, inner.n_best, inner.num_outputs) == (3, 2, 2)
    assert widened(Ensemble(["x.ckpt"], search=Sampling(num_samples=3)), 2) is None


def test_a_piece_with_fewer_answers_gives_its_last_one_again() -> None:
    first, second, other = (Answer(Output(text, -1.0, -1.0, True, [])) for text in "abc")
    assert [answer.output.text for answer in joined([[first, second], [other]], ["", " "])] == ["a c", "b c"]
