"""Minimum risk training. B sentences, N candidates of all of them, C of the sentence that has most."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.decoding import Hypothesis
from s2s_lightning.decoding.limits import Limits
from s2s_lightning.decoding.rules import Rules
from s2s_lightning.decoding.sampling import Ancestral, check_temperature
from s2s_lightning.decoding.token_loop import Rows, one_by_one
from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.model import Batch, Seq2Seq, repeat, select
from s2s_lightning.objectives.costs import BLEUCost, Cost
from s2s_lightning.objectives.objective import Objective, ObjectiveOutput
from s2s_lightning.objectives.pieces import Said, by_pieces, log_prob_of

Output = tuple[int, ...]
"""What is emitted, EOS included if it is."""


class MinimumRisk(Objective):
    """Minimum risk training (Shen et al., 2016, arXiv:1512.02433): the expected cost over sampled candidates.

    risk = sum_y Q(y) cost(y, reference), with Q(y) = P(y | x)^alpha / sum_y' P(y' | x)^alpha over the distinct
    candidates of a sentence. They are sampled in evaluation mode and scored in one batch, in training mode; the source
    is read once for each. The noise comes from torch's generator.

    The paper sums the risk over sentences. Here that of each sentence is multiplied by the tokens of its reference, for
    all sums are divided by the tokens of the effective batch: train/loss is a mean of risks, in which a sentence counts
    as much as in cross-entropy and micro-batches add up. It is meant for a trained network: ``fit --init_from``. A step
    costs the decoding of ``num_samples`` samples and a batch of as many times the sentences: make batches smaller.

    Args:
        cost: of a candidate, by its ids; BLEUCost by default.
        num_samples: draws a sentence; equal ones count once.
        alpha: sharpness of Q; small values make it flat.
        include_reference: the reference is always a candidate.
        temperature: of the sampling.
        max_length_ratio: the most tokens of a sample a token of the reference, EOS counted on both sides.
        cross_entropy: weight of the reference's negative log-likelihood, added to the risk.

    Raises:
        UserError: a negative weight, no samples, or a temperature or a ratio that is not above 0.
    """

    def __init__(
        self,
        cost: Cost | None = None,
        *,
        num_samples: int = 8,
        alpha: float = 0.005,
        include_reference: bool = True,
        temperature: float = 1.0,
        max_length_ratio: float = 2.0,
        cross_entropy: float = 0.0,
    ) -> None:
        check_at_least(1, num_samples=num_samples)
        check_at_least(0, alpha=alpha, cross_entropy=cross_entropy)
        check_temperature(temperature)
        if not max_length_ratio > 0:
            raise UserError(f"max_length_ratio={max_length_ratio}: it must be above 0")
        self.cost = cost or BLEUCost()
        self.num_samples = num_samples
        self.alpha = alpha
        self.include_reference = include_reference
        self.temperature = temperature
        self.max_length_ratio = max_length_ratio
        self.cross_entropy = cross_entropy

    def __call__(self, model: Seq2Seq, batch: Batch) -> ObjectiveOutput:
        references = _outputs(batch.tgt_out)
        samples = self.sample(model, batch)
        # the reference stands first, whether or not it counts: its log-probability is logged
        distinct = [list(dict.fromkeys([one, *many])) for one, many in zip(references, samples, strict=True)]
        flat = [(row, column, output) for row, outputs in enumerate(distinct) for column, output in enumerate(outputs)]
        sentence, place = torch.tensor([index for *index, _ in flat], device=batch.src.device).unbind(1)  # (N,)
        log_probs = _log_probs(model, batch, sentence, [output for *_, output in flat])
        counts = [self.include_reference or output in samples[row] for row, _, output in flat]
        costs = [self.cost(_words(output), _words(references[row])) for row, _, output in flat]
        q = _sharpened(self.alpha * log_probs, (sentence, place), log_probs.new_tensor(counts, dtype=torch.bool))
        tokens = (batch.tgt_out != PAD).sum(1)
        risk = (q * log_probs.new_tensor(costs) * tokens[sentence]).sum()
        nll = -log_probs[place == 0].sum()
        parts = {"nll": nll.detach(), "risk": risk.detach()}
        return ObjectiveOutput(risk + self.cross_entropy * nll, tokens.sum(), parts)

    @torch.no_grad()
    def sample(self, model: Seq2Seq, batch: Batch) -> list[list[Output]]:
        """The draws for each sentence."""
        longest = ((batch.tgt_out != PAD).sum(1) * self.max_length_ratio).ceil().long().clamp(min=1)
        longest = longest.repeat_interleave(self.num_samples)
        limits = Limits(torch.zeros_like(longest), longest)
        with _evaluating(model):
            state = repeat(model.start(batch.src, batch.src_padding, batch.src_copy), self.num_samples)
            choose = Ancestral(_random, self.temperature)
            found = one_by_one(model, state, Rules(limits, longest.new_empty(len(longest), 0)), choose)
        flat = [_emitted(hypothesis) for (hypothesis,) in found]
        return [flat[start : start + self.num_samples] for start in range(0, len(flat), self.num_samples)]


def _random(rows: Rows) -> Tensor:
    return torch.rand(len(rows.place), device=rows.place.device)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put the network into evaluation mode; afterwards each module is in the mode that it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _emitted(hypothesis: Hypothesis) -> Output:
    return (*hypothesis.tokens, EOS) if hypothesis.finished else tuple(hypothesis.tokens)


def _outputs(tgt_out: Tensor) -> list[Output]:
    """The real tokens of each row."""
    return [tuple(token for token in row if token != PAD) for row in tgt_out.tolist()]


def _words(output: Output) -> Output:
    return output[:-1] if output[-1] == EOS else output


def _log_probs(model: Seq2Seq, batch: Batch, sentence: Tensor, outputs: Sequence[Output]) -> Tensor:
    """(N,) log P of each output, given the source of its sentence (N,)."""
    width = max(map(len, outputs))
    tgt_out = torch.tensor([[*o, *[PAD] * (width - len(o))] for o in outputs], device=sentence.device)
    tgt_in = torch.cat([torch.full_like(tgt_out[:, :1], BOS), tgt_out[:, :-1]], 1)
    state = select(model.start(batch.src, batch.src_padding, batch.src_copy), sentence)
    return by_pieces(log_prob_of, tgt_out, Said(model, model(tgt_in, state))).sum(1)


def _sharpened(scores: Tensor, index: tuple[Tensor, Tensor], counts: Tensor) -> Tensor:
    """(N,) the softmax within each sentence, of those that count; ``index`` is (sentence, place within it)."""
    shape = [int(x.max()) + 1 for x in index]  # (B, C)
    table = scores.new_full(shape, -torch.inf).index_put(index, scores.masked_fill(~counts, -torch.inf))
    return table.softmax(1)[index]
