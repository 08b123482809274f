"""Laws 3 and 9 to 13 of the search, over every shipped configuration."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from s2s_lightning import EOS, PAD, UNK
from s2s_lightning.decoding import (
    MBR,
    Average,
    Beam,
    ConstrainedBeam,
    Decoding,
    Demands,
    DiverseBeam,
    Ensemble,
    Greedy,
    Hypothesis,
    Sampling,
    ShallowFusion,
)
from s2s_lightning.decoding.ensemble import AverageOf
from s2s_lightning.errors import UserError
from s2s_lightning.families.merged import MergedDecoder
from s2s_lightning.model import Batch, Step
from s2s_lightning.testing import TGT_VOCAB, batch_of, random_pairs
from s2s_lightning.training.module import Seq2SeqModule
from tests.contract.conftest import build
from tests.decoding.fakes import forced, tools

TIGHT = {"max_length_ratio": 1.0, "max_length_offset": 2}
"""Limits at which sentences of unlike lengths leave the batch at unlike steps."""

SEARCHES: dict[str, Decoding] = {
    "greedy": Greedy(**TIGHT),
    "beam": Beam(3, n_best=2, length_penalty=Average(), **TIGHT),
    "sampling": Sampling(num_samples=3, top_k=9, top_p=0.95, min_p=0.02, typical_p=0.9, **TIGHT),
    "mbr": MBR(Sampling(num_samples=5, temperature=1.5, **TIGHT), n_best=2),
    "diverse": DiverseBeam(4, num_groups=2, n_best=3, no_repeat_ngram=2, repetition_penalty=1.2, **TIGHT),
}
PART_OF_A_SOFTMAX = {
    MergedDecoder: "one softmax over target and source; tests/families/test_merged.py has both parts make 1",
}
"""Decoders whose attention over the source sums to less than 1, and why; a prefix LM's is one of these."""
SEARCHES["mbr"].attach(tools(decode=lambda ids: " ".join(map(str, ids))))
SOURCES = [src for src, _ in random_pairs(6)]


@pytest.fixture(params=SEARCHES.values(), ids=SEARCHES)
def search(request: pytest.FixtureRequest) -> Decoding:
    """Each search in turn."""
    return request.param


def decode(
    network: Seq2SeqModule,
    search: Decoding,
    sources: Sequence[list[int]],
    padding: int = 0,
    demands: Demands = Demands(),
) -> list[list[Hypothesis]]:
    """Search of sources without EOS, padded to at least ``padding``."""
    batch = batch_of([(src, []) for src in sources], padding)
    return search(network.model, batch.src, batch.src_padding, demands=demands)


def assert_same(found: Sequence[Hypothesis], expected: Sequence[Hypothesis]) -> None:
    """Equal tokens, and scores to 1e-9."""
    assert [(h.tokens, h.finished) for h in found] == [(h.tokens, h.finished) for h in expected]
    for a, b in zip(found, expected, strict=True):
        assert (a.log_prob, a.score) == pytest.approx((b.log_prob, b.score), abs=1e-9)


def emitted(hypothesis: Hypothesis) -> list[int]:
    """With its EOS, if it has one."""
    return [*hypothesis.tokens, *[EOS] * hypothesis.finished]


def force(network: Seq2SeqModule, batch: Batch) -> Tensor:
    """Log-probabilities (B, T, V) of the target in one call."""
    with torch.no_grad():
        return network.model.log_probs(network.model.teacher_force(batch))


def test_a_sentence_decodes_alike_alone_in_any_batch_and_in_any_order(network: Seq2SeqModule, search: Decoding) -> None:
    together = decode(network, search, SOURCES)
    backwards = decode(network, search, SOURCES[::-1], padding=12)[::-1]
    for src, found, other in zip(SOURCES, together, backwards, strict=True):
        assert_same(found, other)
        assert_same(found, decode(network, search, [src])[0])


def test_in_single_precision_a_beam_finds_equally_good_outputs(network: Seq2SeqModule) -> None:
    """Equal candidates may be swapped, and with them an output: the scores of the best agree."""
    network.float()
    beam = SEARCHES["beam"]
    for src, found in zip(SOURCES, decode(network, beam, SOURCES), strict=True):
        assert found[0].score == pytest.approx(decode(network, beam, [src])[0][0].score, abs=1e-4)


def test_in_single_precision_only_equal_candidates_are_swapped(network: Seq2SeqModule) -> None:
    network.float()
    for src, (found,) in zip(SOURCES, decode(network, Greedy(**TIGHT), SOURCES), strict=True):
        ((alone,),) = decode(network, Greedy(**TIGHT), [src])
        if emitted(alone) == emitted(found):
            assert alone.log_prob == pytest.approx(found.log_prob, abs=1e-4)
        else:
            assert_close_call(network, src, emitted(alone), emitted(found))


def assert_close_call(network: Seq2SeqModule, src: list[int], one: list[int], other: list[int]) -> None:
    """Where two outputs part, their two tokens are equally probable to 1e-4."""
    at = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    log_probs = force(network, batch_of([(src, one)]))[0, at]
    assert log_probs[one[at]] == pytest.approx(log_probs[other[at]].item(), abs=1e-4)


def test_a_beam_of_one_is_greedy(network: Seq2SeqModule) -> None:
    greedy, beam = (decode(network, search, SOURCES) for search in (Greedy(**TIGHT), Beam(1, **TIGHT)))
    for found, expected in zip(beam, greedy, strict=True):
        assert_same(found, expected)


def test_log_prob_is_that_of_force_decoding(network: Seq2SeqModule, search: Decoding) -> None:
    for src, hypotheses in zip(SOURCES, decode(network, search, SOURCES), strict=True):
        for found in hypotheses:
            assert_forced(network, src, found)


def assert_forced(network: Seq2SeqModule, src: list[int], found: Hypothesis) -> None:
    """Its log_prob is that of force-decoding it."""
    target = torch.tensor(emitted(found))
    log_probs = force(network, batch_of([(src, found.tokens)]))[0, : len(target)]
    assert found.log_prob == pytest.approx(log_probs.gather(-1, target.unsqueeze(-1)).sum().item(), abs=1e-9)


def test_a_prefix_is_kept_and_is_that_of_its_sentence(network: Seq2SeqModule, search: Decoding) -> None:
    """Of unequal lengths; the first one is longer than what its empty source allows."""
    prefixes = [[5, 9, 5, 9, 4], [], [6, 7]]
    rows = torch.tensor([[*prefix, *[PAD] * (5 - len(prefix))] for prefix in prefixes])
    together = decode(network, search, SOURCES[:3], demands=Demands(rows))
    for src, prefix, found in zip(SOURCES, prefixes, together, strict=False):
        assert all(hypothesis.tokens[: len(prefix)] == prefix for hypothesis in found)
        assert_forced(network, src, found[0])
    assert_same(together[2], decode(network, search, SOURCES[2:3], demands=Demands(rows[2:, :2]))[0])


def test_a_beam_wider_than_the_vocabulary_returns_distinct_sorted_hypotheses(network: Seq2SeqModule) -> None:
    width = TGT_VOCAB + 7
    for hypotheses in decode(network, Beam(width, n_best=width, max_length=4), SOURCES):
        assert len({tuple(emitted(h)) for h in hypotheses}) == width
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert all(token > EOS for h in hypotheses for token in h.tokens)


def test_a_batch_of_empty_sources_is_searched(network: Seq2SeqModule, search: Decoding) -> None:
    first, *others = decode(network, search, [[]] * 3)
    for other in others:
        assert_same(other, first)


def test_attention_of_a_hypothesis_is_a_distribution_over_its_real_source(network: Seq2SeqModule) -> None:
    best = [hypotheses[0].tokens for hypotheses in decode(network, SEARCHES["beam"], SOURCES)]
    batch = batch_of(list(zip(SOURCES, best, strict=True)), padding=12)
    attention = network.model.teacher_force(batch, need_weights=True).attention
    if attention is None:  # a fixed context vector attends to nothing
        return
    rows, _, _, length, width = attention.shape
    assert (rows, length, width) == (len(best), batch.tgt_in.shape[1], batch.src.shape[1])
    assert attention.min() >= 0
    assert (attention * batch.src_padding[:, None, None, None]).max() == 0
    total = attention.sum(-1)
    if isinstance(network.model.decoder, tuple(PART_OF_A_SOFTMAX)):
        assert total.max() <= 1 + 1e-9
    else:
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-9)


def test_attention_is_equal_step_by_step_and_in_one_call(network: Seq2SeqModule) -> None:
    batch = batch_of(random_pairs(3))
    whole = network.model.teacher_force(batch, need_weights=True).attention
    steps = step_by_step(network, batch)
    if whole is None:
        assert all(step.attention is None for step in steps)
        return
    torch.testing.assert_close(torch.cat([s.attention for s in steps], -2), whole, rtol=0, atol=1e-10)


def step_by_step(network: Seq2SeqModule, batch: Batch) -> list[Step]:
    """The target of a batch, token by token, with attention."""
    state, steps = network.model.start(batch.src, batch.src_padding), []
    for tokens in batch.tgt_in.split(1, 1):
        steps.append(network.model.step(tokens, state, need_weights=True))
        state = steps[-1].state
    return steps


def test_attention_is_not_made_unless_it_is_asked_for(network: Seq2SeqModule) -> None:
    if network.model.readout.needs_attention:
        return
    assert network.model.teacher_force(batch_of(random_pairs(2))).attention is None


@pytest.mark.parametrize("average", ["linear", "log"])
def test_a_model_with_itself_is_the_model(network: Seq2SeqModule, average: AverageOf) -> None:
    ensemble = Ensemble(["itself"], search=SEARCHES["beam"], average=average)
    ensemble.attach(tools(network=lambda _: network.model))
    found, expected = (decode(network, search, SOURCES[:3]) for search in (ensemble, SEARCHES["beam"]))
    for hypotheses, others in zip(found, expected, strict=True):
        assert_same(hypotheses, others)


def test_any_family_is_a_member_beside_a_transformer(network: Seq2SeqModule) -> None:
    """Unless one of them copies; its log_prob is that of force-decoding all members."""
    ensemble = Ensemble(["transformer"], search=Beam(2, **TIGHT))
    ensemble.attach(tools(network=lambda _: build(Path("configs/transformer.yaml")).double().model))
    if network.model.readout.needs_attention:
        with pytest.raises(UserError, match="must copy, or none"):
            decode(network, ensemble, SOURCES[:2])
        return
    for src, (found,) in zip(SOURCES[:3], decode(network, ensemble, SOURCES[:3]), strict=True):
        together = ensemble.beside(network.model)
        assert found.log_prob == pytest.approx(sum(forced(together, [*src, EOS], emitted(found))), abs=1e-9)


def test_a_language_model_helps_any_family(network: Seq2SeqModule) -> None:
    language_model = build(Path("configs/lm.yaml")).double().model
    fused = ShallowFusion("lm", weight=0.6, search=SEARCHES["beam"])
    fused.attach(tools(language_model=lambda _: language_model))
    for src, hypotheses in zip(SOURCES[:3], decode(network, fused, SOURCES[:3]), strict=True):
        for found in hypotheses:
            tokens = emitted(found)
            log_prob = sum(forced(network.model, [*src, EOS], tokens))
            said = sum(forced(language_model, [EOS], [i if i < TGT_VOCAB else UNK for i in tokens]))
            assert found.log_prob == pytest.approx(log_prob, abs=1e-9)
            assert found.score == pytest.approx((log_prob + 0.6 * said) / len(tokens), abs=1e-9)


def test_any_family_says_the_phrases_it_is_asked_for(network: Seq2SeqModule) -> None:
    asked = [[[[5, 6]], [[7]]], [], [[[8, 8, 4], [8, 5]]]]
    batch = batch_of([(src, []) for src in SOURCES[:3]])
    found = ConstrainedBeam(4, **TIGHT)(network.model, batch.src, batch.src_padding, demands=Demands(phrases=asked))
    for src, (best,), phrases in zip(SOURCES, found, asked, strict=False):
        text = f" {' '.join(map(str, best.tokens))} "
        assert all(any(f" {' '.join(map(str, way))} " in text for way in phrase) for phrase in phrases)
        assert best.log_prob == pytest.approx(sum(forced(network.model, [*src, EOS], emitted(best))), abs=1e-9)
