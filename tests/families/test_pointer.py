"""The pointer-generator against loops over the equations, its laws, and words that no vocabulary has, end to end."""

import json
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from s2s_lightning import EOS, PAD, UNK
from s2s_lightning.__main__ import main
from s2s_lightning.decoding import Beam
from s2s_lightning.errors import UserError
from s2s_lightning.families.pointer import Pointer, PointerDecoder, PointerGenerator, first_places
from s2s_lightning.model import Batch, DecoderOutput, Memory, MemoryShape, Seq2Seq, State
from s2s_lightning.nn.linear_cross_entropy import linear_cross_entropy, mixture_cross_entropy
from s2s_lightning.objectives import CoverageLoss
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Law, batch_of, random_pairs
from tests.families.laws import LAWS
from tests.families.recurrent import LENGTHS, source
from tests.helpers.toy import toy_batch, toy_network

SIZES = {"d_embedding": 6, "d_model": 8, "d_score": 5}
V = TGT_VOCAB
COPY = torch.tensor([[V, 7, V, 9, V + 4, 7, EOS], [5, V + 1, 5, EOS, PAD, PAD, PAD]])
"""Repeated words, known and unknown."""
TARGET = torch.tensor([[V, 7, 10, V + 4, EOS], [5, UNK, V + 1, EOS, PAD]])


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("coverage", [True, False], ids=["coverage", "without"])
@pytest.mark.parametrize("tgt_vocab_size", [None, TGT_VOCAB], ids=["joint", "separate"])
def test_laws(law: Law, tgt_vocab_size: int | None, coverage: bool) -> None:
    torch.manual_seed(0)
    law.check(Pointer(SRC_VOCAB, tgt_vocab_size, **SIZES, coverage=coverage).model.double().eval())


@pytest.fixture
def readout() -> PointerGenerator:
    torch.manual_seed(0)
    return PointerGenerator(torch.nn.Parameter(torch.randn(V, 6, dtype=torch.float64)), joint=True).double()


@pytest.fixture
def output() -> DecoderOutput:
    """Random, of two layers and three heads, whose gradients are wanted."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    scores = draw(2, 2, 3, 5, 7).masked_fill((COPY == PAD)[:, None, None, None], -torch.inf)
    return DecoderOutput(
        draw(2, 5, 6).requires_grad_(),
        State(None, None),
        scores.softmax(-1).requires_grad_(),
        draw(2, 5).requires_grad_(),
    )


def by_the_equation(readout: PointerGenerator, output: DecoderOutput) -> Tensor:
    """P(w) (B, T, V + S), a token and a source position at a time."""
    rows = []
    for b, copy in enumerate(COPY):
        for t in range(TARGET.shape[1]):
            p_gen = torch.sigmoid(output.gate[b, t])
            p_vocab = (readout.weight @ output.hidden[b, t] + readout.bias).softmax(-1)
            p = torch.cat([p_gen * p_vocab, torch.zeros(len(copy), dtype=torch.float64)])
            for i, word in enumerate(copy):
                a = output.attention[b, :, :, t, i].mean()
                p = p.scatter_add(0, word.view(1), ((1 - p_gen) * a).view(1))
            rows.append(p)
    return torch.stack(rows).view(*TARGET.shape, -1)


def leaves(readout: PointerGenerator, output: DecoderOutput) -> list[Tensor]:
    return [output.hidden, output.attention, output.gate, readout.weight, readout.bias]


def test_probabilities_are_those_of_the_papers_mixture(readout: PointerGenerator, output: DecoderOutput) -> None:
    log_probs = readout(output, COPY)
    torch.testing.assert_close(log_probs.exp(), by_the_equation(readout, output), rtol=0, atol=1e-12)
    torch.testing.assert_close(log_probs.logsumexp(-1), torch.zeros(2, 5, dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_first_place_of_an_id_is_the_first_of_those_equal_to_it() -> None:
    ids = torch.randint(0, 9, (50, 30))
    assert torch.equal(first_places(ids), (ids.unsqueeze(2) == ids.unsqueeze(1)).int().argmax(-1))


@pytest.mark.parametrize("way", ["scores", "cross_entropy"])
def test_the_loss_and_its_gradients_are_those_of_the_mixture(
    readout: PointerGenerator, output: DecoderOutput, way: str
) -> None:
    def nll(log_probs: Tensor) -> Tensor:
        return -log_probs.gather(-1, TARGET.unsqueeze(-1)).squeeze(-1)[TARGET != PAD].sum()

    expected = nll(by_the_equation(readout, output).log())
    found = nll(readout(output, COPY)) if way == "scores" else readout.cross_entropy(output, COPY, TARGET, 0.0).sum
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    inputs = leaves(readout, output)
    gradients = (torch.autograd.grad(loss * 0.3, inputs) for loss in (found, expected))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_smoothing_is_that_of_the_generator(readout: PointerGenerator, output: DecoderOutput) -> None:
    real = TARGET != PAD
    log_vocab = (output.hidden @ readout.weight.T + readout.bias).log_softmax(-1)
    plain = readout.cross_entropy(output, COPY, TARGET, 0.0)
    smooth = readout.cross_entropy(output, COPY, TARGET, 0.1)
    expected = 0.9 * plain.sum - 0.1 * log_vocab.mean(-1)[real].sum()
    torch.testing.assert_close(smooth.sum, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(smooth.nll, plain.nll, rtol=1e-12, atol=0)
    inputs = leaves(readout, output)
    gradients = (torch.autograd.grad(loss, inputs) for loss in (smooth.sum, expected))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_a_mixture_that_is_all_softmax_has_the_linear_loss(readout: PointerGenerator, label_smoothing: float) -> None:
    hidden = torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True)
    target, inputs = TARGET.clamp(max=V - 1), (hidden, readout.weight, readout.bias)
    zero = torch.zeros(2, 5, dtype=torch.float64)
    mixed = mixture_cross_entropy(*inputs, zero, zero - torch.inf, target, label_smoothing, chunk=3)
    linear = linear_cross_entropy(*inputs, target, label_smoothing)
    torch.testing.assert_close(mixed, linear, rtol=1e-12, atol=0)
    gradients = (torch.autograd.grad(loss.sum, inputs) for loss in (mixed, linear))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_gradients_stay_finite_where_attention_misses_the_target(readout: PointerGenerator) -> None:
    attention = torch.zeros(2, 1, 1, 5, 7)
    attention[..., 5] = 1.0
    gate, hidden = torch.full((2, 5), 30.0, requires_grad=True), torch.randn(2, 5, 6, requires_grad=True)
    output = DecoderOutput(hidden, State(None, None), attention.requires_grad_(), gate)
    loss = readout.float().cross_entropy(output, COPY, TARGET, 0.0)
    assert loss.sum.isfinite()
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss.sum, [hidden, gate, attention]))


def row_by_the_equations(
    p: dict[str, Tensor], states: Tensor, start: Tensor, y: Tensor
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Hidden states, gates and weights of one sentence; the LSTM gate by gate.

    Args:
        p: the decoder's parameters.
        states: (S, D), real ones alone.
        start: (2, H), the LSTM's first h and c.
        y: (T, E).
    """
    (s, c), coverage = start, [torch.tensor(0.0, dtype=torch.float64)] * len(states)
    hidden, gates, weights = [], [], []
    lstm = {name.removeprefix("recurrence.rnn."): value for name, value in p.items()}
    for y_t in y:
        products = lstm["weight_ih_l0"] @ y_t + lstm["bias_ih_l0"] + lstm["weight_hh_l0"] @ s + lstm["bias_hh_l0"]
        i, f, g, o = products.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        s = o.sigmoid() * c.tanh()
        query = p["attention.query.weight"] @ s + p["attention.query.bias"]
        e = [
            p["attention.v"] @ torch.tanh(p["attention.key.weight"] @ h + query + p["attention.coverage"] * c_i)
            for h, c_i in zip(states, coverage, strict=True)
        ]
        weights.append(torch.stack(e).softmax(0))
        coverage = [c_i + a for c_i, a in zip(coverage, weights[-1], strict=True)]
        context = sum(a * h for a, h in zip(weights[-1], states, strict=True))
        hidden.append(p["output.weight"] @ torch.cat([s, context]) + p["output.bias"])
        gates.append(p["gate.weight"][0] @ torch.cat([s, context, y_t]) + p["gate.bias"][0])
    return hidden, gates, weights


def test_the_decoder_is_that_of_the_papers_equations() -> None:
    torch.manual_seed(0)
    decoder = PointerDecoder(memory=MemoryShape(10, (2, 8)), **SIZES, dropout=0.5).double().eval()
    states = torch.randn(3, 5, 10, dtype=torch.float64)
    memory = Memory(states, states, source()[1], torch.randn(3, 2, 8, dtype=torch.float64))
    y = torch.randn(3, 4, 6, dtype=torch.float64)
    output = decoder(y, decoder.start(memory), need_weights=True)
    for row, length in enumerate(LENGTHS):
        parts = row_by_the_equations(
            dict(decoder.named_parameters()), states[row, :length], memory.summary[row], y[row]
        )
        found = output.hidden[row], output.gate[row], output.attention[row, 0, 0, :, :length]
        for a, b in zip(found, map(torch.stack, parts), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_without_coverage_the_steps_are_those_of_a_coverage_that_weighs_nothing() -> None:
    torch.manual_seed(0)
    loop, together = (
        PointerDecoder(memory=MemoryShape(10, (2, 8)), **SIZES, coverage=c).double() for c in (True, False)
    )
    torch.nn.init.zeros_(loop.attention.coverage)
    together.load_state_dict({k: v for k, v in loop.state_dict().items() if k != "attention.coverage"})
    states, y = torch.randn(3, 5, 10, dtype=torch.float64), torch.randn(3, 4, 6, dtype=torch.float64)
    memory = Memory(states, states, source()[1], torch.randn(3, 2, 8, dtype=torch.float64))
    expected, found = (decoder.eval()(y, decoder.start(memory), need_weights=True) for decoder in (loop, together))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_coverage_loss_is_the_papers_sum() -> None:
    model, batch = toy_network(), toy_batch([("abcd", "dcba"), ("ab", "a")])
    output = model.teacher_force(batch, need_weights=True)
    attention = output.attention.mean((1, 2))
    expected = 0.0
    for row, real in zip(attention, batch.tgt_out != PAD, strict=True):
        for t in range(int(real.sum())):
            for i in range(row.shape[1]):
                expected += min(row[t, i].item(), sum(row[:t, i].tolist()))
    loss, tokens, parts = CoverageLoss(weight=0.5, label_smoothing=0.1)(model, batch)
    nll = model.cross_entropy(output, batch.tgt_out, 0.1)
    assert parts["coverage"].item() == pytest.approx(expected, rel=1e-12)
    assert loss.item() == pytest.approx(nll.sum.item() + 0.5 * expected, rel=1e-12)
    assert tokens == 7


def test_coverage_loss_needs_attention() -> None:
    with pytest.raises(UserError, match="has none"):
        CoverageLoss()(toy_network(attends=False), toy_batch([("ab", "ba")]))


@pytest.fixture
def model() -> Seq2Seq:
    torch.manual_seed(0)
    return Pointer(SRC_VOCAB, TGT_VOCAB, **SIZES).model.double().eval()


def copying_batch() -> Batch:
    """Random pairs whose sources hold words that are in no vocabulary."""
    batch = batch_of(random_pairs(4))
    places = TGT_VOCAB + torch.arange(batch.src.shape[1])
    unknown = (batch.src % 2 == 1) & (batch.src > EOS)
    return batch._replace(src_copy=torch.where(unknown, places, batch.src.clamp(max=TGT_VOCAB - 1)))


def test_without_ids_to_copy_a_token_of_a_vocabulary_of_its_own_is_its_first_place(model: Seq2Seq) -> None:
    src = torch.tensor([[5, 6, 5, UNK, EOS, PAD]])
    assert model.readout.source(src, None).tolist() == [[V, V + 1, V, V + 3, EOS, PAD]]


def test_a_copied_word_is_read_as_unknown(model: Seq2Seq) -> None:
    batch = copying_batch()
    state = model.start(batch.src, batch.src_padding, batch.src_copy)
    copied, unknown = (model(torch.full((4, 2), i), state).hidden for i in (V + 3, UNK))
    assert torch.equal(copied, unknown)


def test_the_search_scores_a_copied_word_as_force_decoding_does(model: Seq2Seq) -> None:
    batch = copying_batch()
    with torch.no_grad():
        model.decoder.gate.bias.fill_(-3.0)  # copy
        found = Beam(4, n_best=4)(model, batch.src, batch.src_padding, batch.src_copy)
        assert any(token >= V for hypotheses in found for h in hypotheses for token in h.tokens)
        for i, hypotheses in enumerate(found):
            for h in hypotheses:
                emitted = torch.tensor([[*h.tokens, *[EOS] * h.finished]])
                one = [x[i : i + 1] for x in (batch.src, batch.src_padding, batch.src_copy)]
                tgt_in = torch.cat([torch.tensor([[1]]), emitted[:, :-1]], 1)
                log_probs = model.step(tgt_in, model.start(*one)).log_probs
                assert h.log_prob == pytest.approx(log_probs.gather(-1, emitted.unsqueeze(-1)).sum().item(), abs=1e-9)


KNOWN = ["the", "of", "a", "and"]


def name(generator: random.Random) -> str:
    return "".join(generator.choices("bdgklmnprstz", k=3)) + generator.choice("aeiou")


def sentence(generator: random.Random) -> str:
    words = [generator.choice(KNOWN) if generator.random() < 0.5 else name(generator) for _ in range(4)]
    return " ".join(words[: generator.randint(1, 4)])


def test_a_trained_network_copies_words_that_it_has_never_seen(tmp_path: Path) -> None:
    generator = random.Random(0)
    lines = [sentence(generator) for _ in range(2200)]
    for split, part in (("train", lines[:2100]), ("val", lines[2100:])):
        (tmp_path / f"{split}.tsv").write_text("".join(f"{line}\t{line}\n" for line in part))
    tests = [f"{name(generator)} the {name(generator)}x", f"and {name(generator)}y", "qu"]
    (tmp_path / "in.txt").write_text("".join(f"{line}\n" for line in tests))
    main([
        "fit", "--config=configs/pointer.yaml", f"--trainer.default_root_dir={tmp_path}",
        "--model.d_embedding=32", "--model.d_model=32", "--model.d_score=32", "--model.dropout=0",
        "--schedule.warmup_steps=50",
        "--data.corpus=Table", f"--data.corpus.train={tmp_path}/train.tsv", f"--data.corpus.val={tmp_path}/val.tsv",
        "--data.tokenizer=Pretokenized", "--data.tokenizer.min_frequency=100", "--data.max_tokens=256",
        "--trainer.max_epochs=5", "--trainer.accelerator=cpu",
    ])  # fmt: skip
    (scores,) = tmp_path.rglob("val_scores.json")
    assert json.loads(scores.read_text())["scores"]["exact_match"]["value"] > 90
    (checkpoint,) = tmp_path.rglob("best.ckpt")
    main(["generate", str(checkpoint), str(tmp_path / "in.txt"), "-o", str(tmp_path / "out.txt")])
    assert (tmp_path / "out.txt").read_text().splitlines() == tests


def test_the_loss_of_an_improbable_word_is_that_of_scoring() -> None:
    """e^-120 for a word that the source lacks: a floor of 1e-38 would hide it, and send its gradient to the gate."""
    weight = torch.nn.Parameter(torch.zeros(8, 2))
    weight.data[5, 0], weight.data[6, 0] = 60.0, -60.0
    readout = PointerGenerator(weight, joint=False)
    hidden = torch.tensor([[[1.0, 0.0]]], requires_grad=True)
    gate = torch.zeros(1, 1, requires_grad=True)
    output = DecoderOutput(hidden, State(None, None), torch.full((1, 1, 1, 1, 3), 1 / 3), gate)
    src, target = torch.tensor([[8, 9, 2]]), torch.tensor([[6]])
    scored = -readout(output, src)[0, 0, 6]
    trained = readout.cross_entropy(output, src, target, 0.0).sum
    torch.testing.assert_close(trained, scored)
    for ours, theirs in zip(
        torch.autograd.grad(trained, (hidden, gate)), torch.autograd.grad(scored, (hidden, gate)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_a_word_that_only_copying_gives_has_a_finite_loss_without_attention() -> None:
    readout = PointerGenerator(torch.nn.Parameter(torch.zeros(8, 2)), joint=False)
    output = DecoderOutput(torch.zeros(1, 1, 2), State(None, None), torch.tensor([[[[[0.0, 1.0]]]]]), torch.zeros(1, 1))
    loss = readout.cross_entropy(output, torch.tensor([[8, 2]]), torch.tensor([[8]]), 0.0)
    assert bool(loss.nll.isfinite())
