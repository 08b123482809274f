"""Which networks each family is measured against."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from benchmarks.references import attention, convolutions, mixers, recurrent, scans
from benchmarks.references.networks import Reference, Sizes


class Entry(NamedTuple):
    """A reference, and what of the configuration is set otherwise so that both compute the same.

    Attributes:
        name: for the table.
        build: makes it from the sizes.
        settings: of our network.
        same: it is the same network; otherwise another layer of equal widths takes a layer's place.
    """

    name: str
    build: Callable[[Sizes], Reference]
    settings: dict[str, Any] = {}  # noqa: RUF012
    same: bool = True


def scanned(loop: type[scans.Loop]) -> list[Entry]:
    """The recurrence in a loop, and torch's layers instead of it."""
    return [
        Entry("loop over time, products outside", partial(scans.loops, loop=loop)),
        Entry("nn.GRU in equal blocks", partial(scans.torch_layers, layer=nn.GRU), same=False),
        Entry("nn.LSTM in equal blocks", partial(scans.torch_layers, layer=nn.LSTM), same=False),
    ]


SINUSOIDS = {"positions": "sinusoidal"}
GEMMA = {"ffn": "geglu", "norm_at": "both"}
LLAMA = Entry("Hugging Face Llama with a mask", attention.PrefixLlama, {"qk_norm": False})

REFERENCES: dict[str, list[Entry]] = {
    "rnn": [Entry("nn.RNN twice", partial(recurrent.FixedVector, layers=nn.RNN))],
    "lstm": [Entry("nn.LSTM twice", partial(recurrent.FixedVector, layers=nn.LSTM))],
    "gru": [Entry("nn.GRU twice", partial(recurrent.FixedVector, layers=nn.GRU, fed=True))],
    "bahdanau": [Entry("nn.GRU, loop of GRUCell and attention", recurrent.Bahdanau)],
    "luong": [Entry("nn.LSTM, loop of LSTMCell and attention", recurrent.Luong)],
    "gnmt": [Entry("nn.LSTM stack, loop of LSTMCells and attention", recurrent.GNMT)],
    "pointer": [Entry("loop of attention, softmax, scatter_add", recurrent.Pointer)],
    "hybrid": [Entry("nn.TransformerEncoder, loop of LSTMCell and attention", recurrent.Hybrid)],
    "qrnn": [
        Entry("Conv1d, loop over time", scans.QRNN),
        Entry("nn.GRU, attention", partial(scans.LateAttention, layers=nn.GRU), same=False),
        Entry("nn.LSTM, attention", partial(scans.LateAttention, layers=nn.LSTM), same=False),
    ],
    "sru": scanned(scans.SRU),
    "indrnn": scanned(scans.IndRNN),
    "mingru": scanned(scans.MinGRU),
    "minlstm": scanned(scans.MinLSTM),
    "convs2s": [Entry("nn.Conv1d", convolutions.ConvS2S)],
    "lightconv": [Entry("F.conv1d", partial(convolutions.convolutional, layer=convolutions.Depthwise))],
    "dynamicconv": [
        Entry("band matrix", partial(convolutions.convolutional, layer=convolutions.DynamicBand)),
        Entry("unfold", partial(convolutions.convolutional, layer=convolutions.DynamicUnfold)),
    ],
    "transformer": [
        Entry("nn.Transformer's stacks", attention.TorchTransformer, SINUSOIDS),
        Entry("Hugging Face Marian", attention.Marian, SINUSOIDS | {"norm": "post"}),
    ],
    "universal": [Entry("torch's layers in a loop", attention.Universal, SINUSOIDS)],
    "modern": [Entry("Hugging Face T5Gemma", attention.T5Gemma, GEMMA | {"qk_norm": False})],
    "merged": [Entry("Hugging Face T5Gemma 2", attention.T5Gemma2, GEMMA)],
    "prefix_lm": [LLAMA],
    "lm": [LLAMA],
    "mamba2": [Entry("Hugging Face Mamba2Mixer", partial(mixers.blocks, new_layer=mixers.Mamba2))],
    "xlstm": [Entry("Hugging Face mLSTM layer", partial(mixers.blocks, new_layer=mixers.XLSTM))],
    "retnet": [Entry("parallel form", partial(mixers.blocks, new_layer=mixers.Retention))],
    "deltanet": [
        Entry("Hugging Face chunks", partial(mixers.blocks, new_layer=mixers.DeltaNet)),
        Entry("Hugging Face loop", partial(mixers.blocks, new_layer=partial(mixers.DeltaNet, chunked=False))),
    ],
    "gated_deltanet": [
        Entry("Hugging Face chunks", partial(mixers.blocks, new_layer=partial(mixers.DeltaNet, gated=True))),
        Entry("Hugging Face Qwen3-Next layer", partial(mixers.blocks, new_layer=mixers.QwenLayer)),
    ],
}
