"""The network's contract: batch, encoder, decoder, state, readout, and the model of all of them."""

from s2s_lightning.model.batch import Batch
from s2s_lightning.model.contract import (
    Decoder,
    DecoderOutput,
    Encoder,
    Memory,
    MemoryShape,
    Readout,
    declared,
    masked_mean,
    returned,
)
from s2s_lightning.model.seq2seq import LinearReadout, Seq2Seq, Step, Tie, TokenEmbedding, assemble
from s2s_lightning.model.state import (
    Change,
    OfSentence,
    State,
    Tree,
    branch,
    reorder,
    repeat,
    select,
    tree_map,
)

__all__ = [
    "Batch",
    "Change",
    "Decoder",
    "DecoderOutput",
    "Encoder",
    "LinearReadout",
    "Memory",
    "MemoryShape",
    "OfSentence",
    "Readout",
    "Seq2Seq",
    "State",
    "Step",
    "Tie",
    "TokenEmbedding",
    "Tree",
    "assemble",
    "branch",
    "declared",
    "masked_mean",
    "reorder",
    "repeat",
    "returned",
    "select",
    "tree_map",
]
