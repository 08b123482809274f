"""Laws of the decoder over the target: pieces, hypotheses, states, the order of time."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from s2s_lightning import BOS
from s2s_lightning.model import Batch, Seq2Seq, State, branch, reorder, repeat, select, tree_map
from s2s_lightning.nn.key_value_cache import Cache
from s2s_lightning.testing.batches import TGT_VOCAB, random_batch, random_tokens
from s2s_lightning.testing.law import BrokenLaw, agree, tolerance


def in_pieces(model: Seq2Seq, tgt_in: Tensor, state: State, cuts: list[int]) -> tuple[Tensor, State]:
    """Return log-probabilities (B, T, V) of the target cut before each of ``cuts``, and the state after it."""
    parts = []
    for piece in tgt_in.tensor_split(cuts, 1):
        step = model.step(piece, state)
        parts.append(step.log_probs)
        state = step.state
    return torch.cat(parts, 1), state


@torch.no_grad()
def pieces(model: Seq2Seq, batch: Batch | None = None, rtol: float = 0.0) -> None:
    """Compare one call with cuts after the first token, in the middle, and, on random ids, after each token."""
    every_token = batch is None
    batch = random_batch(model, 4) if batch is None else batch
    start = model.start(batch.src, batch.src_padding, batch.src_copy)
    whole = model.step(batch.tgt_in, deepcopy(start)).log_probs
    length = batch.tgt_in.shape[1]
    for cuts in ([1], [2, 3], *([list(range(1, length))] if every_token else [])):
        found, _ = in_pieces(model, batch.tgt_in, deepcopy(start), [cut for cut in cuts if cut < length])
        agree(found, whole, "log-probabilities", f"when the target is cut before {cuts}", tolerance(model), rtol=rtol)


@torch.no_grad()
def reordering(model: Seq2Seq) -> None:
    """Compare hypotheses that continue from others with the same histories in one call."""
    batch = random_batch(model, 3)
    start = repeat(model.start(batch.src, batch.src_padding), 2)
    tgt_in = random_tokens(model, 6, 7)
    tgt_in[:, 0] = BOS
    parents = torch.tensor([1, 1, 2, 2, 5, 4], device=tgt_in.device)
    history = torch.cat([tgt_in[parents, :3], tgt_in[:, 3:]], 1)
    whole = model.step(history, deepcopy(start)).log_probs[:, 3:]
    when = "when hypotheses continue from others after 3 tokens"
    for cuts, rests in (([], [[]]), ([1], [[]]), ([1, 2], [[], [2], [1, 2, 3]])):
        _, past = in_pieces(model, tgt_in[:, :3], deepcopy(start), cuts)
        for rest in rests:
            found, _ = in_pieces(model, tgt_in[:, 3:], reorder(past, parents), rest)
            agree(found, whole, "log-probabilities", when, tolerance(model))


@torch.no_grad()
def shared_context(model: Seq2Seq) -> None:
    """Compare hypotheses that share their sentence's context with such that have a copy of it each."""
    batch = random_batch(model, 3)
    before = model.step(batch.tgt_in[:, :1], model.start(batch.src, batch.src_padding)).state
    device = batch.src.device
    rows, sentences = torch.tensor([2, 2, 1, 1], device=device), torch.tensor([2, 1], device=device)
    shared, own = branch(before, rows, sentences), select(before, rows)
    limit, when = tolerance(model), "when two hypotheses share the context of their sentence"
    for piece in random_tokens(model, 4, 5).tensor_split([1], 1):
        found, expected = (model.step(piece, state, need_weights=True) for state in (shared, own))
        agree(found.log_probs, expected.log_probs, "log-probabilities", when, limit)
        if found.attention is not None and expected.attention is not None:
            agree(found.attention, expected.attention, "weights of attention", when, limit)
        shared, own = found.state, expected.state
    piece, rows = random_tokens(model, 2, 1), torch.tensor([3, 2], device=device)  # one leaves, the others swap
    left, alone = branch(shared, rows, torch.tensor([1], device=device)), select(own, rows)
    agree(
        model.step(piece, left).log_probs, model.step(piece, alone).log_probs, "log-probabilities",
        "when a sentence leaves the batch", limit,
    )  # fmt: skip


@torch.no_grad()
def state(model: Seq2Seq) -> None:
    """Compare two calls with one state."""
    batch = random_batch(model, 3)
    start = model.start(batch.src, batch.src_padding)
    later = model.step(batch.tgt_in[:, :2], start).state
    for given, piece in ((start, batch.tgt_in[:, :2]), (later, batch.tgt_in[:, 2:4])):
        once = model.step(piece, given).log_probs
        again = model.step(piece, given).log_probs
        agree(again, once, "log-probabilities", "at a second call with the same state", 0.0)


def causality(model: Seq2Seq, limit: float = 1e-12) -> None:
    """Change the target from a token on, and then that token alone."""
    batch, t = random_batch(model, 4, longest=9), 3
    later = torch.arange(batch.tgt_in.shape[1], device=batch.tgt_in.device) >= t
    alone = later & (later.cumsum(0) == 1)
    with torch.no_grad():
        before = model.scores(model.teacher_force(batch))
        for where, when in ((later, "are"), (alone, "alone is")):
            tgt_in = torch.where(where, (batch.tgt_in - 3) % (TGT_VOCAB - 4) + 4, batch.tgt_in)
            after = model.scores(model.teacher_force(batch._replace(tgt_in=tgt_in)))
            agree(after[:, :t], before[:, :t], f"scores before token {t}", f"when token {t} {when} changed", limit)
            if torch.equal(before[:, t], after[:, t]):
                raise BrokenLaw(f"no score behind token {t} changes when token {t} {when} changed")


def causality_to_the_bit(model: Seq2Seq) -> None:
    """Allow no rounding that depends on later tokens."""
    causality(model, 0.0)


def carried_sizes(model: Seq2Seq, steps: int = 40) -> tuple[list[list[int]], State]:
    """Return the bytes of each tensor that a decoder carries, after each of some steps, and the last state."""
    batch, sizes = random_batch(model, 3), []
    state = model.start(batch.src, batch.src_padding)
    with torch.no_grad():
        for tokens in random_tokens(model, 3, steps).tensor_split(steps, 1):
            state = model.step(tokens, state).state
            sizes.append([x.untyped_storage().nbytes() for x in leaves(state.carry)])
    return sizes, state


def carry(model: Seq2Seq) -> None:
    """Compare the bytes that a decoder carries after 1 and after 40 steps; a ``Cache`` may grow."""
    sizes, state = carried_sizes(model)
    if sizes[-1] != sizes[0] and not any(isinstance(leaf, Cache) for leaf in leaves(state.carry, Cache)):
        grown = f"{sum(sizes[0]):,} bytes after 1 step and {sum(sizes[-1]):,} after {len(sizes)}"
        raise BrokenLaw(f"the decoder carries {grown}")


def leaves(tree: Any, *kinds: type) -> list[Any]:
    """Return the tensors of a state, and what else counts as a leaf."""
    found: list[Any] = []

    def keep(leaf: Any) -> Any:
        found.append(leaf)
        return leaf

    tree_map(keep, tree, (Tensor, *kinds))
    return found
