"""Feed-forward layer, and the two ways of putting a residual connection around a layer."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

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
        """What the layer reads."""

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
