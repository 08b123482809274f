"""Linear layers whose weights stand in the order in which the CPU's product reads them."""

import platform
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2s_lightning.architecture import DecoderOutput, LinearReadout, Seq2Seq

X86 = ("x86_64", "AMD64")


class Packed:
    """A layer with packed weights, which a copy of it has not."""

    packed: Tensor | None
    packed_version: int

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "packed": None, "packed_version": NEVER}  # nothing can copy what oneDNN has packed


NEVER = -1
"""A version that no weight has."""


class PackedLinear(Packed, nn.Linear):
    """x W^T + b, in float32 on a CPU; with gradients, other numbers or other weights it is what it was."""

    def forward(self, x: Tensor) -> Tensor:
        return _product(x, self)


class PackedReadout(Packed, LinearReadout):
    """The same of a readout."""

    def forward(self, output: DecoderOutput, src: Tensor) -> Tensor:
        return _product(output.hidden, self)


def pack(network: Seq2Seq) -> None:
    """Give the linear layers and a linear readout packed copies of their weights, where that is to be had.

    The products are oneDNN's, by the operators that torch's compiler puts in the place of ``nn.Linear``: on an AMD EPYC
    1.1 times as fast as MKL's for 320 rows, 1.3 times for 160, 2.4 times for the readout of 5. A layer whose weight is
    changed afterwards goes back to the plain product: it is for networks that generate.
    """
    if not available():
        return
    for module in network.modules():
        layer: Any = module
        kind = {nn.Linear: PackedLinear, LinearReadout: PackedReadout}.get(type(layer))
        if kind is not None and _fits(layer.weight):
            layer.packed = _operators()._reorder_linear_weight(layer.weight.detach(), None)
            layer.packed_version = layer.weight._version
            layer.__class__ = kind


def available() -> bool:
    """Whether this torch and this processor have the operators."""
    onednn: Any = torch.backends.mkldnn
    known = all(hasattr(_operators(), name) for name in ("_reorder_linear_weight", "_linear_pointwise"))
    return known and bool(onednn.is_available()) and platform.machine() in X86


def _operators() -> Any:
    return torch.ops.mkldnn


def _fits(x: Any) -> bool:
    return bool(x.dtype == torch.float32 and x.device.type == "cpu")


def _product(x: Tensor, layer: Any) -> Tensor:
    stale = layer.weight._version != layer.packed_version
    if stale or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or not (_fits(x) and _fits(layer.weight)):
        return F.linear(x, layer.weight, layer.bias)
    y: Tensor = _operators()._linear_pointwise(x, layer.packed, layer.bias, "none", [], "")
    return y
