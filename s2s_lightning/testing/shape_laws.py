"""Law of the contract's forms: what encoder and decoder return, with the batch on dimension 0."""

from typing import Any

import torch
from torch import Tensor

from s2s_lightning.model import OfSentence, Seq2Seq, State
from s2s_lightning.nn.key_value_cache import Cache
from s2s_lightning.testing.batch_laws import encode
from s2s_lightning.testing.batches import random_batch
from s2s_lightning.testing.law import BrokenLaw


@torch.no_grad()
def forms(model: Seq2Seq) -> None:
    """Check the types and shapes of memory, states and hidden states."""
    batch = random_batch(model, 3)
    rows, length = batch.src.shape
    start = model.start(batch.src, batch.src_padding)  # which refuses wrong types
    memory, shape = encode(model, batch), model.encoder.shape
    _shaped("Memory.states", memory.states, (rows, length, shape.d_states))
    _shaped("Memory.values", memory.values, (rows, length, shape.d_states))
    _shaped("Memory.padding", memory.padding, (rows, length))
    if memory.padding.dtype != torch.bool:
        raise BrokenLaw(f"Memory.padding is {memory.padding.dtype}, and must be bool, True at padding")
    _shaped("Memory.summary", memory.summary, (rows, *shape.summary))
    _rows(start, rows)
    output = model(batch.tgt_in, start)
    _shaped("DecoderOutput.hidden", output.hidden, (*batch.tgt_in.shape, model.decoder.d_out))
    _rows(output.state, rows)


def _shaped(name: str, value: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(value, Tensor):
        raise BrokenLaw(f"{name} is of type {type(value).__name__}, and must be a tensor of shape {shape}")
    if tuple(value.shape) != shape:
        raise BrokenLaw(f"{name} has shape {tuple(value.shape)}, and must have {shape}")


def _rows(state: State, rows: int) -> None:
    """Check that each tensor of a state has one row a sentence."""
    for name, tree in state._asdict().items():
        for leaf in _leaves(tree):
            if not isinstance(leaf, Tensor):
                raise BrokenLaw(f"State.{name} holds {leaf!r}, and must hold tensors with the batch on dimension 0")
            if not leaf.ndim or len(leaf) != rows:
                raise BrokenLaw(
                    f"State.{name} holds a tensor of shape {tuple(leaf.shape)} for {rows} sentences: "
                    "the batch must be its dimension 0"
                )


def _leaves(tree: Any) -> list[Any]:
    if tree is None:
        return []
    if isinstance(tree, Cache):
        return [tree.row]
    if isinstance(tree, OfSentence):
        return _leaves(tree.parts)
    if isinstance(tree, dict):
        return [leaf for each in tree.values() for leaf in _leaves(each)]
    if isinstance(tree, tuple | list):
        return [leaf for each in tree for leaf in _leaves(each)]
    return [tree]
