"""One file an architecture: its encoder, its decoder, its thin LightningModule."""

from s2s_lightning.families.bahdanau import Bahdanau
from s2s_lightning.families.convs2s import ConvS2S
from s2s_lightning.families.deltanet import DeltaNet, GatedDeltaNet
from s2s_lightning.families.gnmt import GNMT
from s2s_lightning.families.hybrid import Hybrid
from s2s_lightning.families.indrnn import IndRNN
from s2s_lightning.families.lightconv import DynamicConv, LightConv
from s2s_lightning.families.luong import Luong
from s2s_lightning.families.mamba2 import Mamba2
from s2s_lightning.families.merged import Merged
from s2s_lightning.families.minrnn import MinGRU, MinLSTM
from s2s_lightning.families.modern import Modern
from s2s_lightning.families.pointer import Pointer
from s2s_lightning.families.prefix_lm import LM, PrefixLM
from s2s_lightning.families.qrnn import QRNN
from s2s_lightning.families.retnet import RetNet
from s2s_lightning.families.rnn import GRU, LSTM, RNN
from s2s_lightning.families.sru import SRU
from s2s_lightning.families.transformer import Transformer
from s2s_lightning.families.universal import UniversalTransformer
from s2s_lightning.families.xlstm import XLSTM

__all__ = [
    "GNMT",
    "GRU",
    "LM",
    "LSTM",
    "QRNN",
    "RNN",
    "SRU",
    "XLSTM",
    "Bahdanau",
    "ConvS2S",
    "DeltaNet",
    "DynamicConv",
    "GatedDeltaNet",
    "Hybrid",
    "IndRNN",
    "LightConv",
    "Luong",
    "Mamba2",
    "Merged",
    "MinGRU",
    "MinLSTM",
    "Modern",
    "Pointer",
    "PrefixLM",
    "RetNet",
    "Transformer",
    "UniversalTransformer",
]
