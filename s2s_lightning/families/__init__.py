"""One file an architecture: its encoder, its decoder, its thin LightningModule."""

from s2s_lightning.families.bahdanau import Bahdanau
from s2s_lightning.families.convs2s import ConvS2S
from s2s_lightning.families.hybrid import Hybrid
from s2s_lightning.families.luong import Luong
from s2s_lightning.families.pointer import Pointer
from s2s_lightning.families.rnn import GRU, LSTM, RNN
from s2s_lightning.families.transformer import Transformer

__all__ = ["GRU", "LSTM", "RNN", "Bahdanau", "ConvS2S", "Hybrid", "Luong", "Pointer", "Transformer"]
