"""Feed-forward layer, the two ways of putting a residual connection around a layer, and layers left out in training."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2s_lightning.errors import check_at_least, check_below_one
from s2s_lightning.nn.dropout import Dropout

Activation = Literal["relu", "gelu"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class FeedForward(nn.Module):
    """W2 f(W1 x + b1) + b2 at each position (Vaswani et al., 2017, 3.3, arXiv:1706.03762).

    Args:
        d_model: D of input and output.
        d_ff: width between.
        activation: f.
        dropout: after f.
    """

    def __init__(self, d_model: int, d_ff: int, activation: Activation = "relu", dropout: float = 0.0) -> None:
        super().__init__()
        check_at_least(1, d_ff=d_ff)
        self.inner = nn.Linear(d_model, d_ff)
        self.outer = nn.Linear(d_ff, d_model)
        self.activation = ACTIVATIONS[activation]
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.outer(self.dropout(self.activation(self.inner(x))))
        return y


class Residual(nn.Module, ABC):
    """A residual connection with layer normalisation around a layer: ``leave(x, layer(enter(x)))``.

    Args:
        d_model: D.
        dropout: on what the layer gives.
    """

    def __init__(self, d_model: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.dropout = Dropout(dropout)

    @abstractmethod
    def enter(self, x: Tensor) -> Tensor:
        """Return the input of the layer."""

    @abstractmethod
    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        """Join x and what the layer made of it."""


class PostNorm(Residual):
    """norm(x + layer(x)) (Vaswani et al., 2017, 3.1, arXiv:1706.03762); deep stacks need a long warm-up."""

    def enter(self, x: Tensor) -> Tensor:
        return x

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        joined: Tensor = self.norm(x + self.dropout(y))
        return joined


class PreNorm(Residual):
    """x + layer(norm(x)) (Xiong et al., 2020, arXiv:2002.04745); the stack ends in a norm of its own."""

    def enter(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x)
        return normed

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        joined: Tensor = x + self.dropout(y)
        return joined


class LayerDrop(nn.Module):
    """LayerDrop (Fan et al., 2020, arXiv:1909.11556): in training, layers are left out with probability p, unscaled.

    Each sentence draws its own layers; the usual code draws once a batch. So the draw is a tensor with the batch on
    dimension 0, as a decoder's state needs it. Every parameter takes part in every step on every rank, as DDP needs
    it. The price: a layer left out is computed all the same, where a draw for the batch would save p of the time.

    Args:
        p: probability, below 1.
        num_layers: layers that are drawn for.

    Raises:
        UserError: no such probability.
    """

    def __init__(self, p: float, num_layers: int) -> None:
        super().__init__()
        check_below_one(layer_drop=p)
        self.p = p
        self.num_layers = num_layers

    def forward(self, x: Tensor) -> list[Tensor | None]:
        """Draw for each layer which rows of x (B, T, D) pass through it, (B, 1, 1); None: all do."""
        if not self.training or self.p == 0:
            return [None] * self.num_layers
        passing = torch.rand(self.num_layers, len(x), 1, 1, device=x.device) >= self.p
        return list(passing)


def pass_through(passing: Tensor | None, after: Tensor, before: Tensor) -> Tensor:
    """Return the output of a layer for the rows that pass through it, and the other rows as they were."""
    return after if passing is None else torch.where(passing, after, before)
