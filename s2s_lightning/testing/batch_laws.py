"""Laws of rows: what a sentence gives depends on itself alone, whatever stands beside or behind it."""

import torch
from torch import Tensor

from s2s_lightning import PAD
from s2s_lightning.model import Batch, Memory, Seq2Seq, returned
from s2s_lightning.testing.batches import COLUMNS, batch_of, on_device, one_row, random_batch, trimmed, widened
from s2s_lightning.testing.law import BrokenLaw, NotApplicable, agree, tolerance


def encode(model: Seq2Seq, batch: Batch) -> Memory:
    """Return what the encoder makes of a batch."""
    return returned(model.encoder, model.encoder(model.src_embedding(batch.src), batch.src_padding), Memory)


def score(model: Seq2Seq, batch: Batch) -> Tensor:
    """Return the scores (B, T, V) of the whole target in one call."""
    return model.scores(model.teacher_force(batch))


def of_width(scores: Tensor, size: int, when: str) -> Tensor:
    """Cut off the columns that a copying readout has for further positions of padding: they are at -inf."""
    if not (scores[..., size:] == -torch.inf).all():
        raise BrokenLaw(f"a position of padding has a score above -inf {when}")
    return scores[..., :size]


@torch.no_grad()
def padding(model: Seq2Seq, batch: Batch | None = None, rtol: float = 0.0) -> None:
    """Add columns of padding to a batch, and, on random ids, to two sentences alone, one with an empty source."""
    given, batch = batch is not None, random_batch(model, 4) if batch is None else batch
    limit, when = tolerance(model, 1e-5), f"when {COLUMNS} columns of padding are added"
    for tight in (batch, *(trimmed(batch, row) for row in range(0 if given else 2))):
        loose, source, real = widened(tight), ~tight.src_padding, tight.tgt_out != PAD
        before, after = encode(model, tight), encode(model, loose)
        for name, there in (("states", source), ("values", source), ("summary", None)):
            expected, found = getattr(before, name), getattr(after, name)
            found = found if there is None else found[:, : source.shape[1]]
            what = "entries of the encoder's summary" if there is None else f"encoder {name}"
            agree(found, expected, what, when, limit, rtol=rtol, real=there)
        outputs = [model.teacher_force(b) for b in (tight, loose)]
        expected, found = (model.scores(output) for output in outputs)
        found = of_width(found[:, : real.shape[1]], expected.shape[-1], when)
        agree(found, expected, "outputs", when, limit, rtol=rtol, real=real)
        targets = zip(outputs, (tight.tgt_out, loose.tgt_out), strict=True)
        losses = [model.cross_entropy(output, target, 0.1).sum.reshape(1) / real.sum() for output, target in targets]
        agree(losses[1], losses[0], "loss", when, limit, rtol=rtol)


def _rows_alone(model: Seq2Seq, batch: Batch, when: str, limit: float, rtol: float) -> None:
    alone = [one_row(batch, row) for row in range(len(batch.src))]
    memory, lone = encode(model, batch), [encode(model, each) for each in alone]
    source = ~batch.src_padding
    for name, real in (("states", source), ("values", source), ("summary", None)):
        expected = torch.cat([getattr(each, name) for each in lone])
        agree(getattr(memory, name), expected, f"entries of the encoder's {name}", when, limit, rtol=rtol, real=real)
    expected = torch.cat([score(model, each) for each in alone])
    agree(score(model, batch), expected, "outputs", when, limit, rtol=rtol, real=batch.tgt_out != PAD)


@torch.no_grad()
def company(model: Seq2Seq, batch: Batch | None = None, rtol: float = 0.0) -> None:
    """Compare each sentence of a padded batch with itself alone, as wide as there."""
    batch = widened(random_batch(model, 4)) if batch is None else batch
    _rows_alone(model, batch, "when other sentences stand in the batch", tolerance(model, 1e-5), rtol)


@torch.no_grad()
def statistics(model: Seq2Seq) -> None:
    """Compare each sentence with itself alone in training mode, without dropout."""
    kinds = {type(part).__name__ for part in model.modules() if "BatchNorm" in type(part).__name__}
    if kinds:
        raise BrokenLaw(f"the network has {' and '.join(sorted(kinds))}, which normalises over the batch")
    model.train()
    for part in model.modules():
        if "Dropout" in type(part).__name__:
            part.eval()
    batch = random_batch(model, 5)
    if not torch.equal(score(model, batch), score(model, batch)):
        raise NotApplicable("training draws random numbers, and not in modules named Dropout alone")
    _rows_alone(model, batch, "when other sentences stand in the batch, in training mode", tolerance(model), 0.0)


@torch.no_grad()
def source(model: Seq2Seq) -> None:
    """Change one source token of one sentence."""
    batches = (on_device(batch_of([([5, 6, 7, last], [4, 5]), ([9, 10], [6])]), model) for last in (8, 9))
    before, after = (score(model, batch) for batch in batches)
    change = (after[0] - before[0]).nan_to_num().abs().max().item()
    if not change > 1e-6:
        raise BrokenLaw(f"outputs change by {change:.2g} at most when the last source token is another")
    agree(after[1:], before[1:], "outputs", "when another sentence's source changes", tolerance(model))


@torch.no_grad()
def attention(model: Seq2Seq) -> None:
    """Check that weights of attention are a distribution over real source tokens, and cost nothing to ask for."""
    batch = random_batch(model, 4)
    output = model.teacher_force(batch, need_weights=True)
    weights = output.attention
    if weights is None:
        raise NotApplicable("the decoder returns no attention")
    plain = model.teacher_force(batch).hidden
    agree(output.hidden, plain, "hidden states", "when attention is asked for", tolerance(model))
    if weights.ndim != 5 or (len(weights), *weights.shape[-2:]) != (*batch.tgt_in.shape, batch.src.shape[1]):
        raise BrokenLaw(f"attention has shape {tuple(weights.shape)}, and must be (B, layers, heads, T, S)")
    on_padding = weights.masked_select(batch.src_padding[:, None, None, None]).abs().max().item()
    if on_padding != 0:
        raise BrokenLaw(f"padding has up to {on_padding:.2g} of attention, and must have 0")
    total, rounding = weights.sum(-1), 5000 * torch.finfo(weights.dtype).eps
    low, high = total.min().item(), total.max().item()
    floor = 1 - rounding if model.decoder.attention_sums_to_one else 0
    if weights.min() < 0 or not floor <= low <= high <= 1 + rounding:
        rule = "to 1" if floor else "to at most 1"
        found = f"the least weight is {weights.min():.2g}, and those of a target token sum to {low:.4g} to {high:.4g}"
        raise BrokenLaw(f"{found}: weights must be 0 or more and sum {rule}")
