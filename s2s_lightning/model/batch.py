"""The batch that the data module hands to the network: tensors alone, no text and no device code."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """A padded batch of sentence pairs.

    Attributes:
        src: source ids (B, S), int64; each row ends in EOS, so that the empty sentence is [EOS].
        src_padding: (B, S), True at padding.
        tgt_in: what the decoder reads (B, T), BOS first.
        tgt_out: what it should say (B, T), EOS last; PAD is padding.
        divisor: () float32, what the loss is divided by: the real target tokens of the whole effective batch, over
            all ranks and accumulated micro-batches. The sampler knows it beforehand.
        rows: (B,) int64, where each pair stands in the split: how the text layer finds its references again.
        src_copy: what copying a source token emits (B, S), int64: its target id, or V + the first position of its word
            in the row when the target vocabulary, of V ids, has it not. None where ``data.copy`` is off. Where it is
            on, ``tgt_out`` has such ids too, and ``tgt_in`` UNK in their place.
    """

    src: Tensor
    src_padding: Tensor
    tgt_in: Tensor
    tgt_out: Tensor
    divisor: Tensor
    rows: Tensor
    src_copy: Tensor | None = None
