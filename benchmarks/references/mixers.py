"""Linear attention and state spaces: Hugging Face's layers, and the parallel form of retention, in equal blocks."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.references.networks import Blocks, BothWays, Sizes

CHUNK = 32
"""Positions of a chunk where an implementation lets one choose, at most the sequence."""


def blocks(sizes: Sizes, new_layer: Callable[[Sizes], nn.Module]) -> Blocks:
    """An encoder whose blocks read both ways, a decoder; their norms divide by the root mean square."""
    new = partial(new_layer, sizes)
    encoder = [BothWays(new, add=True) for _ in range(sizes.num_encoder_layers)]
    decoder = [new() for _ in range(sizes.num_decoder_layers)]
    return Blocks(sizes, encoder, decoder, norm=nn.RMSNorm, activation=nn.GELU)


class Mamba2(nn.Module):
    """Hugging Face's Mamba2Mixer, of torch's operations."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        from transformers.models.mamba2 import modeling_mamba2 as modeling

        config = modeling.Mamba2Config(
            hidden_size=sizes.d_model,
            num_heads=sizes.expand * sizes.d_model // sizes.d_head,
            head_dim=sizes.d_head,
            state_size=sizes.d_state,
            n_groups=sizes.num_groups,
            expand=sizes.expand,
            conv_kernel=sizes.kernel_size,
            chunk_size=min(CHUNK, sizes.length),
            num_hidden_layers=1,
        )
        self.layer = modeling.Mamba2Mixer(config, 0)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        return self.layer(x, attention_mask=None if padding is None else (~padding).long())


class XLSTM(nn.Module):
    """Hugging Face's mLSTM layer, of torch's operations."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        from transformers.models.xlstm import modeling_xlstm as modeling

        config = modeling.xLSTMConfig(
            hidden_size=sizes.d_model,
            num_heads=sizes.num_heads,
            qk_dim_factor=sizes.num_heads * sizes.d_key / sizes.d_model,
            chunk_size=min(CHUNK, sizes.length),
            autocast_kernel_dtype="float32",
            num_hidden_layers=1,
        )
        self.layer = modeling.xLSTMModel(config).blocks[0].mlstm_layer

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        return self.layer(x)[0]


class QwenLayer(nn.Module):
    """Hugging Face's layer of Qwen3-Next, of torch's operations, in its chunks of 64."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        from transformers.models.qwen3_next import modeling_qwen3_next as modeling

        config = modeling.Qwen3NextConfig(
            hidden_size=sizes.d_model,
            linear_num_key_heads=sizes.num_heads,
            linear_num_value_heads=sizes.num_heads,
            linear_key_head_dim=sizes.d_model // sizes.num_heads,
            linear_value_head_dim=(sizes.d_value or sizes.d_model) // sizes.num_heads,
            linear_conv_kernel_dim=sizes.kernel_size,
            num_hidden_layers=1,
            layer_types=["linear_attention"],
        )
        self.layer = modeling.Qwen3NextGatedDeltaNet(config, 0)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        return self.layer(x, attention_mask=None if padding is None else (~padding).long())


class DeltaNet(nn.Module):
    """The delta rule around Hugging Face's functions of Qwen3-Next.

    Args:
        sizes: of the family.
        chunked: by chunks of at most ``CHUNK``, otherwise position by position.
        gated: with a decay and an output gate; otherwise the decay is 1.
    """

    def __init__(self, sizes: Sizes, *, chunked: bool = True, gated: bool = False) -> None:
        super().__init__()
        from transformers.models.qwen3_next import modeling_qwen3_next as modeling

        d, value = sizes.d_model, sizes.d_value or sizes.d_model
        chunks = partial(modeling.torch_chunk_gated_delta_rule, chunk_size=min(CHUNK, sizes.length))
        self.rule = chunks if chunked else modeling.torch_recurrent_gated_delta_rule
        self.heads, self.parts = sizes.num_heads, [d, d, value]
        self.input, self.beta = nn.Linear(d, sum(self.parts), bias=False), nn.Linear(d, self.heads, bias=False)
        k, width = sizes.kernel_size, sum(self.parts)
        self.convolution = nn.Conv1d(width, width, k, groups=width, padding=k - 1, bias=False)
        self.norm, self.output = nn.RMSNorm(value // self.heads), nn.Linear(value, d, bias=False)
        self.step = nn.Linear(d, self.heads) if gated else None
        self.rate = nn.Parameter(torch.zeros(self.heads)) if gated else None
        self.gate = nn.Linear(d, value, bias=False) if gated else None

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        if padding is not None:
            x = x.masked_fill(padding.unsqueeze(-1), 0)
        qkv = self.convolution(self.input(x).transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in F.silu(qkv).split(self.parts, -1))
        beta = self.beta(x).sigmoid()
        decay = torch.zeros_like(beta) if self.step is None else -self.rate.exp() * F.softplus(self.step(x))
        y, _ = self.rule(
            q,
            k,
            v,
            g=decay,
            beta=beta,
            initial_state=None,
            output_final_state=False,
            use_qk_l2norm_in_kernel=True,
        )
        y = self.norm(y).flatten(2)
        return self.output(y if self.gate is None else y * F.silu(self.gate(x)))


class Retention(nn.Module):
    """The parallel form: (Q K^T * decay) V, with rotated queries and keys."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        d, self.heads, self.value = sizes.d_model, sizes.num_heads, sizes.d_value or 2 * sizes.d_model
        self.query, self.key = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.values, self.gate = nn.Linear(d, self.value, bias=False), nn.Linear(d, self.value, bias=False)
        self.output = nn.Linear(self.value, d, bias=False)
        self.norm = nn.LayerNorm(self.value // self.heads, elementwise_affine=False)
        position, width = torch.arange(sizes.length), d // self.heads
        angle = (position.unsqueeze(1) / 10000 ** (torch.arange(0, width, 2) / width)).repeat_interleave(2, 1)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())
        gamma = 1 - 2.0 ** -torch.arange(5, 5 + self.heads)
        distance = position.unsqueeze(1) - position
        self.register_buffer("decay", (gamma[:, None, None] ** distance.clamp(min=0)).tril())

    def turn(self, x: Tensor) -> Tensor:
        other = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
        return x * self.cos[: x.shape[2]] + other * self.sin[: x.shape[2]]

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        if padding is not None:
            x = x.masked_fill(padding.unsqueeze(-1), 0)
        length = x.shape[1]
        projections = self.query, self.key, self.values
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in projections)
        scores = self.turn(q) @ self.turn(k * k.shape[-1] ** -0.5).mT * self.decay[:, :length, :length]
        y = self.norm(scores @ v).transpose(1, 2).flatten(2)
        return self.output(F.silu(self.gate(x)) * y)
