"""An LSTM stack one step at a time, for decoders whose next input waits for this step's output.

Shape letters: B batch, T target, E embedding, F what is fed back, H state.
"""

import torch
from torch import Tensor, nn

from s2s_lightning.nn.cells import lstm_gates

LayerVectors = list[tuple[Tensor, Tensor]]
"""h and c (B, H) of each layer."""


class StepwiseLSTM:
    """The layers of an ``nn.LSTM`` that reads [y_t; fed_t], where y is known beforehand and fed_t is not.

    The products of y are made for all steps at once. Joining the two products that are left to each layer needs inputs
    and weights copied together, and was no faster on CPU (450 rows, H 256).

    Args:
        lstm: the layers, of input width E + F.
        y: (B, T, E).
        dropout: applied to the output of each layer.
        masks: (B, layers, H) of recurrent dropout, None for none.
    """

    def __init__(self, lstm: nn.RNNBase, y: Tensor, dropout: nn.Module, masks: Tensor | None = None) -> None:
        below, recurrent, *biases = zip(*lstm.all_weights, strict=True)
        w_y, w_fed = below[0].tensor_split([y.shape[-1]], 1)
        self.below = [w.t() for w in (w_fed, *below[1:])]
        self.recurrent = [u.t() for u in recurrent]
        bias, *self.biases = (b_below + b_recurrent for b_below, b_recurrent in zip(*biases, strict=True))
        self.products = nn.functional.linear(y, w_y, bias).unbind(1)  # T of (B, 4H)
        self.dropout = dropout
        self.masks = [None] * lstm.num_layers if masks is None else masks.unbind(1)

    def step(self, t: int, fed: Tensor, vectors: LayerVectors) -> tuple[Tensor, LayerVectors]:
        """The output (B, H) of the top layer at step t, given fed (B, F), and all layers' h and c after it."""
        stepped: LayerVectors = []
        x = fed
        bases = [self.products[t], *self.biases]
        layers = zip(bases, self.below, self.recurrent, self.masks, vectors, strict=True)
        for base, below, recurrent, mask, (h, c) in layers:
            h = h if mask is None else h * mask
            products = torch.addmm(torch.addmm(base, x, below), h, recurrent)
            stepped.append(lstm_gates(products, c))
            x = self.dropout(stepped[-1][0])
        return x, stepped


def split_vectors(state: Tensor) -> LayerVectors:
    """The state (B, 2L, H) of a ``Recurrence`` as h and c of each layer."""
    h, c = state.chunk(2, 1)
    return list(zip(h.unbind(1), c.unbind(1), strict=True))


def join_vectors(vectors: LayerVectors) -> Tensor:
    """The inverse of ``split_vectors``."""
    h, c = zip(*vectors, strict=True)
    return torch.stack(h + c, 1)
