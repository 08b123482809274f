"""Steps of recurrent cells, in torch's parametrisation and order of gates.

Each takes the products W x + b of the input (B, G * H) of G gates, what the recurrent matrix multiplies (B, H) (the
last h, or what dropout left of it), that matrix U^T (H, G * H), its bias unless the input's products have it already,
and the vectors of the state (B, H), the h first; it returns the next vectors. They are made of torch's own operations:
an autograd function with a backward pass by hand was no faster on CPU.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Vectors = tuple[Tensor, ...]
Step = Callable[[Tensor, Tensor, Tensor, Tensor | None, Vectors], Vectors]


def rnn_step(x: Tensor, h: Tensor, u: Tensor, bias: Tensor | None, state: Vectors) -> Vectors:
    """The Elman network (1990): h' = tanh(x + U h)."""
    return (torch.addmm(x, h, u).tanh(),)


def gru_step(x: Tensor, h: Tensor, u: Tensor, bias: Tensor | None, state: Vectors) -> Vectors:
    """The GRU of torch and cuDNN: h' = (1 - z) * n + z * h with n = tanh(x_n + r * (U_n h + b_n))."""
    assert bias is not None  # the reset gate multiplies it
    (last,) = state
    x_gates, x_candidate = x.tensor_split([2 * last.shape[1]], -1)
    u_gates, u_candidate = torch.addmm(bias, h, u).tensor_split([2 * last.shape[1]], -1)
    r, z = (x_gates + u_gates).sigmoid().chunk(2, -1)
    n = (x_candidate + r * u_candidate).tanh()
    return (n + z * (last - n),)


def reset_before_step(x: Tensor, h: Tensor, u: Tensor, bias: Tensor | None, state: Vectors) -> Vectors:
    """The GRU of Cho et al. (2014, 2.3): n = tanh(x_n + U_n (r * h)), two products that wait for each other."""
    (last,) = state
    x_gates, x_candidate = x.tensor_split([2 * last.shape[1]], -1)
    u_gates, u_candidate = u.tensor_split([2 * last.shape[1]], -1)
    r, z = torch.addmm(x_gates, h, u_gates).sigmoid().chunk(2, -1)
    n = torch.addmm(x_candidate, r * h, u_candidate).tanh()
    return (n + z * (last - n),)


def lstm_step(x: Tensor, h: Tensor, u: Tensor, bias: Tensor | None, state: Vectors) -> Vectors:
    """The LSTM with a forget gate (Gers et al., 2000): c' = f * c + i * g, h' = o * tanh(c')."""
    return lstm_gates(torch.addmm(x, h, u), state[1])


def lstm_gates(products: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The next h and c, where the sum of both products (B, 4H) is made already."""
    i, f, g, o = products.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c
