"""A Transformer as a model of CTranslate2, an engine of inference in C++ (https://github.com/OpenNMT/CTranslate2).

Its description is read off the network's own layers, so encoder and decoder may differ, as those of ``Hybrid`` may.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from s2s_lightning.data.tokenizers.files import write_tokenizers
from s2s_lightning.errors import UserError
from s2s_lightning.families.modern import ModernDecoder, ModernEncoder
from s2s_lightning.families.transformer import TransformerDecoder, TransformerEncoder
from s2s_lightning.inference.export.ctranslate2_layers import (
    ACTIVATIONS,
    array,
    fill_decoder_layers,
    fill_encoder_layers,
    fill_stack,
    normed_twice,
    stack_options,
)
from s2s_lightning.inference.export.vocabulary import pieces
from s2s_lightning.inference.packed_linear import PackedReadout
from s2s_lightning.model import LinearReadout, Seq2Seq

if TYPE_CHECKING:
    from s2s_lightning.inference.trained import Trained

INSTEAD = "export it with --format safetensors, or run it with generate"


def convert(trained: "Trained", folder: str | Path, quantization: str | None = None) -> None:
    """Write the model for ``ctranslate2.Translator(folder)``, in the vocabulary of ``pieces``, and the tokenizers.

    The engine adds EOS to a source itself. To emit what ours does, ``translate_batch`` must be told
    ``min_decoding_length=0`` and ``suppress_sequences=[["<pad>"], ["<s>"]]``; the translation of an empty source is
    empty there by rule. Unless positions are rotary, it refuses more than ``MAX_POSITIONS``.

    Args:
        trained: the model.
        folder: where it goes; made if need be.
        quantization: what weights are kept as: int8, int16, float16, bfloat16, ...; float32 by default.

    Raises:
        UserError: a network that CTranslate2 has no layers for, or no such package.
    """
    tokenizers = trained.data.tokenizers
    if tokenizers.reverse_source:
        raise UserError(f"data.reverse_source=true: CTranslate2 reads a source as it is given; {INSTEAD}")
    spec = specification(trained.module.model)
    spec.register_source_vocabulary(pieces(tokenizers.src))
    spec.register_target_vocabulary(pieces(tokenizers.target))
    spec.validate()
    spec.optimize(quantization=quantization)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizers(tokenizers.state(), folder)
    spec.save(str(folder))


def library() -> Any:
    """Its descriptions of models.

    Raises:
        UserError: it is not installed.
    """
    try:
        from ctranslate2 import specs
    except ImportError as error:
        raise UserError(
            "--format ctranslate2 needs the package ctranslate2, which is not installed: "
            "pip install 's2s_lightning[export]'"
        ) from error
    return specs


def specification(model: Seq2Seq) -> Any:
    """The ``TransformerSpec`` of the network, filled with its weights.

    Raises:
        UserError: names the part that CTranslate2 does not have.
    """
    refuse_others(model)
    specs = library()
    src_embedding: Any = model.src_embedding
    tgt_embedding: Any = model.tgt_embedding
    encoder: Any = model.encoder
    decoder: Any = model.decoder
    readout: Any = model.readout
    first = encoder.layers[0], decoder.layers[0]
    spec = specs.TransformerSpec(
        specs.TransformerEncoderSpec(
            **stack_options(encoder, first[0].attention), activation=activation(specs, first[0].feed_forward)
        ),
        specs.TransformerDecoderSpec(
            **stack_options(decoder, first[1].self_attention),
            activation=activation(specs, first[1].feed_forward),
            external_pre_post_encoder_layers=normed_twice(first[1].cross_attention_residual),
        ),
    )
    spec.config.add_source_eos = True
    spec.encoder.embeddings[0].weight = array(src_embedding.weight)
    fill_stack(spec.encoder, encoder, src_embedding)
    fill_encoder_layers(spec.encoder, encoder.layers)
    spec.decoder.embeddings.weight = array(tgt_embedding.weight)
    fill_stack(spec.decoder, decoder, tgt_embedding)
    fill_decoder_layers(spec.decoder, decoder.layers)
    spec.decoder.projection.weight = array(readout.weight)
    spec.decoder.projection.bias = array(readout.bias)
    return spec


def activation(specs: Any, feed_forward: Any) -> Any:
    return specs.Activation[ACTIVATIONS[feed_forward.activation]]


def refuse_others(model: Seq2Seq) -> None:
    """Raises UserError: names the first part that CTranslate2 does not have."""
    known: dict[str, tuple[nn.Module, tuple[type, ...]]] = {
        "encoder": (model.encoder, (TransformerEncoder, ModernEncoder)),
        "decoder": (model.decoder, (TransformerDecoder, ModernDecoder)),
        "readout": (model.readout, (LinearReadout, PackedReadout)),
    }
    for name, (part, kinds) in known.items():
        if type(part) not in kinds:  # a subclass computes something else
            raise UserError(
                f"the model's {name} is a {type(part).__name__}, but CTranslate2 runs Transformers alone "
                f"(Transformer and Modern): {INSTEAD}"
            )
    for part in (model.encoder, model.decoder):
        refuse_other_norms(part.layers[0])  # type: ignore[index]


def refuse_other_norms(layer: Any) -> None:
    """Raises UserError for what a layer of Modern can do and CTranslate2 cannot."""
    residual = layer.feed_forward_residual
    if normed_twice(residual) and isinstance(residual.before, nn.Identity):
        raise UserError(f"model.norm_at=output: CTranslate2 has no layer that reads what is not normalised; {INSTEAD}")
    attention = getattr(layer, "cross_attention", None)
    if not isinstance(getattr(attention, "query_norm", nn.Identity()), nn.Identity):
        raise UserError(
            "model.qk_norm=true: in attention over the source CTranslate2 normalises queries over all heads at once; "
            f"{INSTEAD}"
        )
