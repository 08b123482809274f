"""Ensembles against their members: themselves, by hand, and by brute force."""

import pytest
import torch
from torch import Tensor

from s2s_lightning import BOS, EOS
from s2s_lightning.decoding import Average, Beam, Decoding, Demands, Ensemble, Greedy, Sampling
from s2s_lightning.decoding.ensemble import AverageOf, Members
from s2s_lightning.errors import UserError
from s2s_lightning.model import State, Step
from tests.decoding.fakes import VOCAB, WORDS, Table, all_outputs, assert_same, padded, ranked, sources, tools
from tests.decoding.test_laws import TIGHT, gru

both_averages = pytest.mark.parametrize("average", ["linear", "log"])
WEIGHTS = [0.5, 0.3, 0.2]


def tables(average: AverageOf) -> Members:
    """Three tables as one network."""
    return Members([Table(seed) for seed in range(3)], WEIGHTS, average, ["a", "b", "c"])


class Fixed:
    """A network that always predicts the same (1, 1, V), or (1, 1, V + S), with attention of one head."""

    def __init__(self, probabilities: list[float], attention: list[float] | None = None) -> None:
        self.log_probs = torch.tensor(probabilities).log().view(1, 1, -1)
        self.attention = None if attention is None else torch.tensor(attention).view(1, 1, 1, 1, -1)

    def start(self, src: Tensor, src_padding: Tensor, src_copy: Tensor | None = None) -> State:
        return State(None, None)

    def step(self, tokens: Tensor, state: State, need_weights: bool = False) -> Step:
        return Step(self.log_probs, state, self.attention)


@both_averages
@pytest.mark.parametrize(
    "search",
    [Greedy(**TIGHT), Beam(4, n_best=3, length_penalty=Average(), coverage_penalty=0.4, **TIGHT), Sampling(**TIGHT)],
    ids=lambda search: type(search).__name__,
)
def test_a_model_with_itself_is_the_model(average: AverageOf, search: Decoding) -> None:
    model, rows = gru(), sources(9)
    ensemble = Ensemble(["itself", "again"], search=search, average=average, weights=[2.0, 1.0, 0.5])
    ensemble.attach(tools(network=lambda _: gru()))
    for found, expected in zip(ensemble(model, *padded(rows)), search(model, *padded(rows)), strict=True):
        assert_same(found, expected)


@both_averages
def test_the_average_is_that_of_the_formula(average: AverageOf) -> None:
    p, q = [0.0, 0.1, 0.2, 0.7], [0.1, 0.3, 0.4, 0.2]
    step = Members([Fixed(p), Fixed(q)], [0.75, 0.25], average, "pq").step(torch.tensor([[BOS]]), State((0, 0), (0, 0)))
    if average == "linear":
        expected = [0.75 * a + 0.25 * b for a, b in zip(p, q, strict=True)]
    else:
        product = [a**0.75 * b**0.25 for a, b in zip(p, q, strict=True)]
        expected = [x / sum(product) for x in product]
    torch.testing.assert_close(step.log_probs[0, 0].exp(), torch.tensor(expected))


def test_attention_is_the_mean_over_the_members_that_have_it() -> None:
    uniform = [1.0 / VOCAB] * VOCAB
    members = [Fixed(uniform, [0.2, 0.8]), Fixed(uniform), Fixed(uniform, [1.0, 0.0])]
    step = Members(members, WEIGHTS, "log", "abc").step(torch.tensor([[BOS]]), State((0, 0, 0), (0, 0, 0)), True)
    assert step.attention is not None
    torch.testing.assert_close(step.attention.flatten(), torch.tensor([0.6, 0.4]))
    assert Members(members[1:2], [1.0], "log", "b").step(torch.tensor([[BOS]]), State((0,), (0,))).attention is None


@both_averages
def test_a_beam_as_wide_as_the_search_space_finds_the_ensembles_best(average: AverageOf) -> None:
    rows = sources(3)
    beam = Beam(len(WORDS) ** 4, n_best=5, max_length=4)
    for row, found in zip(rows, beam(tables(average), *padded(rows)), strict=True):
        assert_same(found, ranked(tables(average), row, all_outputs(0, 4), lambda n: 1.0)[:5])


@both_averages
def test_a_sentence_decodes_alike_alone_and_in_any_batch(average: AverageOf) -> None:
    rows, beam = sources(9), Beam(3, n_best=2, **TIGHT)
    together = beam(tables(average), *padded(rows))
    backwards = beam(tables(average), *padded(rows[::-1], extra=3))[::-1]
    for row, found, other in zip(rows, together, backwards, strict=True):
        assert_same(found, other)
        assert_same(found, beam(tables(average), *padded([row]))[0])


def test_more_weight_brings_it_nearer_to_a_member() -> None:
    rows, search = sources(6), Greedy(max_length=5)
    model, other = Table(0), Table(1)
    heavy = Members([model, other], [1 - 1e-9, 1e-9], "log", "ab")
    for found, expected in zip(search(heavy, *padded(rows)), search(model, *padded(rows)), strict=True):
        assert_same(found, expected, tolerance=1e-6)


def test_the_inner_search_gets_tools_and_demands() -> None:
    ensemble = Ensemble(["other"], search=Greedy(bad_words=["bad"], max_length=4))
    ensemble.attach(tools(network=lambda _: gru(), decode=lambda ids: "".join("bad" if i == 4 else "-" for i in ids)))
    prefix = torch.tensor([[6, 5]] * 4)
    for (found,) in ensemble(gru(), *padded(sources(4)), demands=Demands(prefix)):
        assert found.tokens[:2] == [6, 5]
        assert 4 not in found.tokens


def test_members_that_copy_and_members_that_do_not_are_refused_by_name() -> None:
    members = Members([Fixed([0.2] * 5), Fixed([0.25] * 4)], [0.5, 0.5], "linear", ["the model", "b.ckpt"])
    with pytest.raises(UserError, match=r"the model predicts 5 ids and b\.ckpt 4, .*all members .* must copy, or none"):
        members.step(torch.tensor([[BOS]]), State((0, 0), (0, 0)))


def test_a_member_that_cannot_copy_what_is_to_be_copied_is_refused_by_name() -> None:
    ensemble = Ensemble(["b.ckpt"])
    ensemble.attach(tools(network=lambda _: gru()))
    src, padding = padded([[4, EOS]])
    with pytest.raises(UserError, match=r"b\.ckpt copies no words"):
        ensemble(gru(), src, padding, src_copy=src)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"checkpoints": []}, "checkpoints=.*one checkpoint"),
        ({"checkpoints": ["a"], "weights": [1.0]}, "weights=.*must be 2"),
        ({"checkpoints": ["a"], "weights": [1.0, 0.0]}, "weights=.*above 0"),
        ({"checkpoints": ["a"], "weights": [1.0, float("nan")]}, "weights=.*above 0"),
    ],
)
def test_what_is_no_ensemble_is_refused(settings: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Ensemble(**settings)  # type: ignore[arg-type]
