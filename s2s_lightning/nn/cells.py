"""What recurrent cells do after their matrix products, in torch's parametrisation and order of gates.

Each takes the products W x + b of the input and U h + b' of the state, of G gates each (B, G * H), and the vectors of
the state (B, H), the h first; it returns the next vectors. They are made of torch's own operations: an autograd
function with a backward pass by hand was no faster on CPU.
"""

from collections.abc import Callable

from torch import Tensor

Vectors = tuple[Tensor, ...]
Step = Callable[[Tensor, Tensor, Vectors], Vectors]


def rnn_step(x: Tensor, u: Tensor, state: Vectors) -> Vectors:
    """The Elman network (1990): h' = tanh(x + u)."""
    return ((x + u).tanh(),)


def gru_step(x: Tensor, u: Tensor, state: Vectors) -> Vectors:
    """The gated recurrent unit: h' = (1 - z) * n + z * h with n = tanh(x_n + r * u_n), reset after the product."""
    (h,) = state
    x_gates, x_candidate = x.tensor_split([2 * h.shape[1]], -1)
    u_gates, u_candidate = u.tensor_split([2 * h.shape[1]], -1)
    r, z = (x_gates + u_gates).sigmoid().chunk(2, -1)
    n = (x_candidate + r * u_candidate).tanh()
    return (n + z * (h - n),)


def lstm_step(x: Tensor, u: Tensor, state: Vectors) -> Vectors:
    """The LSTM with a forget gate (Gers et al., 2000): c' = f * c + i * g, h' = o * tanh(c')."""
    return lstm_gates(x + u, state[1])


def lstm_gates(products: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The next h and c, where the sum of both products (B, 4H) is made already."""
    i, f, g, o = products.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c
