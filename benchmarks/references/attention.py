"""Transformers: torch's own, and those of Hugging Face's transformers."""

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.references.networks import Reference, Sinusoids, Sizes, with_dropout
from s2s_lightning import BOS, EOS, PAD


def encoder_layer(sizes: Sizes) -> nn.TransformerEncoderLayer:
    """Pre-norm, dropout on what is added alone."""
    layer = nn.TransformerEncoderLayer(
        sizes.d_model, sizes.num_heads, sizes.d_ff, sizes.dropout, batch_first=True, norm_first=True
    )
    layer.self_attn.dropout, layer.dropout.p = 0.0, 0.0
    return layer


def decoder_layer(sizes: Sizes) -> nn.TransformerDecoderLayer:
    layer = nn.TransformerDecoderLayer(
        sizes.d_model, sizes.num_heads, sizes.d_ff, sizes.dropout, batch_first=True, norm_first=True
    )
    layer.self_attn.dropout, layer.multihead_attn.dropout, layer.dropout.p = 0.0, 0.0, 0.0
    return layer


class TorchTransformer(Reference):
    """``nn.TransformerEncoder`` and ``nn.TransformerDecoder`` with sinusoids."""

    def __init__(self, sizes: Sizes) -> None:
        d = sizes.d_model
        super().__init__(sizes, d)
        self.positions = Sinusoids(d)
        self.encoder = nn.TransformerEncoder(encoder_layer(sizes), sizes.num_encoder_layers, nn.LayerNorm(d), False)
        self.decoder = nn.TransformerDecoder(decoder_layer(sizes), sizes.num_decoder_layers, nn.LayerNorm(d))

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        memory = self.encoder(self.dropout(self.positions(self.src(src))), src_key_padding_mask=padding)
        hidden = self.decoder(
            self.dropout(self.positions(self.tgt(tgt))),
            memory,
            tgt_mask=nn.Transformer.generate_square_subsequent_mask(tgt.shape[1]),
            tgt_is_causal=True,
            memory_key_padding_mask=padding,
        )
        return self.readout(hidden)


class Universal(Reference):
    """One layer of torch's for each side in a loop; positions and the step are added before each turn."""

    def __init__(self, sizes: Sizes) -> None:
        d = sizes.d_model
        super().__init__(sizes, d)
        self.positions = Sinusoids(d)
        self.encoder, self.decoder = encoder_layer(sizes), decoder_layer(sizes)
        self.steps = sizes.num_encoder_steps, sizes.num_decoder_steps
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(d), nn.LayerNorm(d)

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        x, y = self.dropout(self.src(src)), self.dropout(self.tgt(tgt))
        for step in range(self.steps[0]):
            x = self.encoder(self.signal(x, step), src_key_padding_mask=padding)
        x = self.encoder_norm(x)
        options: dict[str, Any] = {
            "tgt_mask": nn.Transformer.generate_square_subsequent_mask(tgt.shape[1]),
            "tgt_is_causal": True,
            "memory_key_padding_mask": padding,
        }
        for step in range(self.steps[1]):
            y = self.decoder(self.signal(y, step), x, **options)
        return self.readout(self.decoder_norm(y))

    def signal(self, x: Tensor, step: int) -> Tensor:
        return self.positions(x) + self.positions.table[step + 1]


class Marian(Reference):
    """Hugging Face's MarianModel with a vocabulary of its own for each side."""

    def __init__(self, sizes: Sizes) -> None:
        import transformers

        super().__init__(sizes, sizes.d_model)
        config = transformers.MarianConfig(
            vocab_size=sizes.vocab_size,
            d_model=sizes.d_model,
            encoder_layers=sizes.num_encoder_layers,
            decoder_layers=sizes.num_decoder_layers,
            encoder_attention_heads=sizes.num_heads,
            decoder_attention_heads=sizes.num_heads,
            encoder_ffn_dim=sizes.d_ff,
            decoder_ffn_dim=sizes.d_ff,
            dropout=sizes.dropout,
            activation_function="relu",
            max_position_embeddings=512,
            pad_token_id=PAD,
            eos_token_id=EOS,
            decoder_start_token_id=BOS,
        )
        self.model = transformers.MarianModel(config)

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        hidden = self.model(
            inputs_embeds=self.src(src),
            attention_mask=~padding,
            decoder_inputs_embeds=self.tgt(tgt),
            use_cache=False,
        ).last_hidden_state
        return self.readout(hidden)


def hugging_face_sizes(sizes: Sizes, num_layers: int) -> dict[str, Any]:
    """Of a stack of Llama's or Gemma's."""
    return {
        "vocab_size": sizes.vocab_size,
        "hidden_size": sizes.d_model,
        "intermediate_size": sizes.d_ff,
        "num_hidden_layers": num_layers,
        "num_attention_heads": sizes.num_heads,
        "num_key_value_heads": sizes.num_kv_heads,
        "head_dim": sizes.d_model // sizes.num_heads,
    }


def gemma_sizes(sizes: Sizes, num_layers: int) -> dict[str, Any]:
    """Every layer reads all positions, nothing caps a score, dropout acts on what is added alone."""
    return hugging_face_sizes(sizes, num_layers) | {
        "query_pre_attn_scalar": sizes.d_model // sizes.num_heads,
        "layer_types": ["full_attention"] * num_layers,
        "attn_logit_softcapping": None,
        "dropout_rate": sizes.dropout,
    }


class GemmaReference(Reference):
    """What the two generations of T5Gemma share: both are called on embeddings."""

    encoder: nn.Module
    decoder: nn.Module

    def drop_nothing_inside(self) -> None:
        """Between the products of a feed-forward layer, that is."""
        for layer in (*self.encoder.layers, *self.decoder.layers):
            layer.mlp.dropout.p = 0.0

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        real = (~padding).long()
        states = self.encoder(inputs_embeds=self.src(src), attention_mask=real).last_hidden_state
        hidden = self.decoder(
            inputs_embeds=self.tgt(tgt),
            attention_mask=torch.ones_like(tgt),
            encoder_hidden_states=states,
            encoder_attention_mask=real,
            use_cache=False,
        ).last_hidden_state
        return self.readout(hidden)


class T5Gemma(GemmaReference):
    def __init__(self, sizes: Sizes) -> None:
        from transformers.models import t5gemma

        super().__init__(sizes, sizes.d_model)
        parts = [
            t5gemma.T5GemmaModuleConfig(**gemma_sizes(sizes, n))
            for n in (sizes.num_encoder_layers, sizes.num_decoder_layers)
        ]
        config = t5gemma.T5GemmaConfig(
            encoder=parts[0], decoder=parts[1], vocab_size=sizes.vocab_size, dropout_rate=sizes.dropout
        )
        model = t5gemma.T5GemmaModel(config)
        self.encoder, self.decoder = model.encoder, model.decoder
        self.drop_nothing_inside()


class T5Gemma2(GemmaReference):
    def __init__(self, sizes: Sizes) -> None:
        from transformers.models.t5gemma2 import configuration_t5gemma2 as configuration
        from transformers.models.t5gemma2 import modeling_t5gemma2 as modeling

        super().__init__(sizes, sizes.d_model)
        rotary = {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10_000.0}}}
        options = {**rotary, "attn_implementation": "sdpa"}
        encoder = configuration.T5Gemma2TextConfig(**gemma_sizes(sizes, sizes.num_encoder_layers), **options)
        decoder = configuration.T5Gemma2DecoderConfig(**gemma_sizes(sizes, sizes.num_decoder_layers), **options)
        self.encoder = modeling.T5Gemma2TextEncoder(encoder, eoi_token_index=0)
        self.decoder = modeling.T5Gemma2Decoder(decoder, eoi_token_index=0)
        self.drop_nothing_inside()


class PrefixLlama(Reference):
    """Hugging Face's Llama on [source; target] with a mask: all read the source, the target itself up to its place."""

    def __init__(self, sizes: Sizes) -> None:
        import transformers

        super().__init__(sizes, sizes.d_model)
        self.model = transformers.LlamaModel(
            transformers.LlamaConfig(**hugging_face_sizes(sizes, sizes.num_layers), rms_norm_eps=1e-6)
        )
        for layer in self.model.layers:
            layer.self_attn.o_proj = with_dropout(layer.self_attn.o_proj, sizes.dropout)
            layer.mlp.down_proj = with_dropout(layer.mlp.down_proj, sizes.dropout)

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        source, length = src.shape[1], tgt.shape[1]
        reads = torch.zeros(len(src), source + length, source + length, dtype=torch.bool)
        reads[:, :, :source] = ~padding.unsqueeze(1)
        reads[:, source:, source:] = torch.ones(length, length).tril().bool()
        places = [torch.arange(source).expand(len(src), -1), (~padding).sum(1, keepdim=True) + torch.arange(length)]
        hidden = self.model(
            inputs_embeds=self.dropout(torch.cat([self.src(src), self.tgt(tgt)], 1)),
            attention_mask=torch.where(reads, 0.0, torch.finfo(torch.float32).min).unsqueeze(1),
            position_ids=torch.cat(places, 1),
            use_cache=False,
        ).last_hidden_state
        return self.readout(hidden[:, source:])
