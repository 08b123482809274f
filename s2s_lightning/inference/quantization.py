"""Smaller numbers for generation: bfloat16, and int8 products of linear layers on the CPU."""

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from s2s_lightning import BOS, EOS
from s2s_lightning.errors import UserError
from s2s_lightning.model import DecoderOutput, LinearReadout, Readout, Seq2Seq
from s2s_lightning.nn.linear_cross_entropy import CrossEntropy


class Quantized(NamedTuple):
    """Number of weights that became 8-bit integers, and of all weights."""

    weights: int
    total: int

    def __str__(self) -> str:
        return (
            f"int8: {self.weights:,} of {self.total:,} weights; embeddings, recurrences, convolutions, norms and what "
            "else is no linear layer stay float32"
        )


def check(dtype: str, quantize: str | None, device: torch.device) -> None:
    """Raises UserError for numbers that cannot be had."""
    if quantize is None:
        return
    if dtype != "float32":
        raise UserError(f"quantize={quantize} and dtype={dtype} exclude each other: leave one of them out")
    if device.type != "cpu":
        raise UserError(f"quantize={quantize} is for the CPU, not for {device}: add --device cpu, or leave it out")
    if torch.backends.quantized.engine == "none":
        raise UserError(f"quantize={quantize}: this build of torch has no 8-bit products; leave it out")


class QuantizedReadout(Readout):
    """logits = W h + b with W in int8; the embedding that W may have been tied to stays as it is."""

    def __init__(self, readout: LinearReadout) -> None:
        super().__init__()
        self.linear = nn.Linear(readout.weight.shape[1], readout.weight.shape[0])
        self.linear.weight, self.linear.bias = nn.Parameter(readout.weight.detach().clone()), readout.bias

    def forward(self, output: DecoderOutput, src: Tensor) -> Tensor:
        logits: Tensor = self.linear(output.hidden)
        return logits

    def cross_entropy(self, output: DecoderOutput, src: Tensor, target: Tensor, label_smoothing: float) -> CrossEntropy:
        raise AssertionError("a quantised network is not trained")


def quantize(network: Seq2Seq) -> Quantized:
    """Dynamic quantisation in place: int8 weights with a scale for each row, activations with one for each call.

    It takes the ``nn.Linear`` layers and a linear readout. Embeddings, recurrent and convolution kernels, norms, and
    linear maps of which a family reads the weights itself stay float32.
    """
    total = sum(p.numel() for p in network.parameters())
    if type(network.readout) is LinearReadout:
        network.readout = QuantizedReadout(network.readout)
    layers = sorted(_called(network))
    taken = sum(network.get_parameter(f"{name}.weight").numel() for name in layers)
    with warnings.catch_warnings():
        # torch.ao.quantization is deprecated in favour of torchao, whose CPU products need a compiler
        warnings.simplefilter("ignore")
        recipe = torch.ao.quantization.per_channel_dynamic_qconfig
        quantize_dynamic: Any = torch.ao.quantization.quantize_dynamic
        quantize_dynamic(network, dict.fromkeys(layers, recipe), inplace=True)
    return Quantized(taken, total)


@torch.no_grad()
def _called(network: Seq2Seq) -> set[str]:
    """The linear layers that are called as modules, seen while the empty sentence is read and two tokens are written.

    Of the others the weights are read directly, which 8-bit layers do not allow.
    """
    called: set[str] = set()
    linears = {name: m for name, m in network.named_modules() if type(m) is nn.Linear}
    hooks = [m.register_forward_hook(lambda *_, name=name: called.add(name)) for name, m in linears.items()]
    src = torch.tensor([[EOS]])
    state = network.start(src, torch.zeros_like(src, dtype=torch.bool))
    state = network.step(torch.tensor([[BOS, EOS]]), state).state
    network.step(torch.tensor([[EOS]]), state)
    for hook in hooks:
        hook.remove()
    return called
