"""One file an architecture: its encoder, its decoder, its thin LightningModule."""

from s2s_lightning.families.bahdanau import Bahdanau
from s2s_lightning.families.convs2s import ConvS2S
from s2s_lightning.families.hybrid import Hybrid
from s2s_lightning.families.indrnn import IndRNN
from s2s_lightning.families.luong import Luong
from s2s_lightning.families.minrnn import MinGRU, MinLSTM
from s2s_lightning.families.qrnn import QRNN
from s2s_lightning.families.rnn import GRU, LSTM, RNN
from s2s_lightning.families.sru import SRU
from s2s_lightning.families.transformer import Transformer

__all__ = [
    "GRU",
    "LSTM",
    "QRNN",
    "RNN",
    "SRU",
    "Bahdanau",
    "ConvS2S",
    "Hybrid",
    "IndRNN",
    "Luong",
    "MinGRU",
    "MinLSTM",
    "Transformer",
]
