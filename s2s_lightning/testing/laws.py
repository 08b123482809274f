"""The laws, and their check on one network."""

from collections.abc import Sequence
from copy import deepcopy

from torch import nn

from s2s_lightning.errors import UserError, located
from s2s_lightning.testing import batch_laws, gradient_laws, shape_laws, target_laws
from s2s_lightning.testing.batches import SRC_VOCAB, TGT_VOCAB
from s2s_lightning.testing.law import BrokenLaw, Law, NotApplicable, Result, seq2seq

FORMS = Law(
    "forms",
    "encoder and decoder return what the contract names, with the batch on dimension 0",
    "forward of the encoder, start and forward of the decoder, shape and d_out",
    True,
    shape_laws.forms,
)

PIECES = Law(
    "pieces",
    "any split of the target into pieces gives the log-probabilities of one call",
    "what the decoder carries from call to call: positions, last inputs, caches; and a missing causal mask",
    True,
    target_laws.pieces,
)

PADDING = Law(
    "padding",
    "padding changes no encoder state, summary, output or loss",
    "layers that mix positions (Fourier, convolution, pooling, means, a reverse direction), and masks of attention",
    True,
    batch_laws.padding,
)

COMPANY = Law(
    "company",
    "a sentence gives the same alone and beside others",
    "norms, means or maxima over dimension 0, and reshapes that mix rows",
    True,
    batch_laws.company,
)

LAWS: tuple[Law, ...] = (
    FORMS,
    PIECES,
    Law(
        "reordering",
        "a hypothesis that continues from another one has that one's history",
        "what changes from step to step stands in State.carry, not in State.context nor in the module itself",
        True,
        target_laws.reordering,
    ),
    Law(
        "shared context",
        "hypotheses of one sentence may share its context",
        "OfSentence: a reader views (B*K, T, D) as (B, K*T, D)",
        True,
        target_laws.shared_context,
    ),
    Law(
        "state",
        "a call changes no state that it was given",
        "operations in place (+=, add_, index assignment) on State.carry or State.context",
        True,
        target_laws.state,
    ),
    PADDING,
    COMPANY,
    Law(
        "statistics",
        "nothing depends on statistics of the batch, in training either",
        "BatchNorm and its kin: take LayerNorm or RMSNorm",
        True,
        batch_laws.statistics,
    ),
    Law(
        "causality",
        "a target token changes nothing before it, and something behind it",
        "the causal mask of self-attention, the padding of convolutions, a reverse direction",
        True,
        target_laws.causality,
    ),
    Law(
        "source",
        "a source token changes the outputs, and those of its own sentence alone",
        "a decoder that never reads its memory",
        True,
        batch_laws.source,
    ),
    Law(
        "gradients",
        "every parameter gets a gradient that is not zero",
        "parameters that forward never uses, and detach(); DDP waits for all of them",
        True,
        gradient_laws.gradients,
    ),
    Law(
        "micro-batches",
        "micro-batches have the gradient of one batch",
        "means over tokens or rows inside of the network or its readout",
        True,
        gradient_laws.micro_batches,
    ),
    Law(
        "attention",
        "attention is a distribution over real source tokens, and asking for it changes nothing",
        "the mask before the softmax; attention_sums_to_one = False for a decoder that attends to more than the source",
        True,
        batch_laws.attention,
    ),
    Law(
        "causality to the bit",
        "later tokens do not even change the rounding of what stands before them",
        "transforms over the whole target, such as an FFT; harmless but for comparisons to the bit",
        False,
        target_laws.causality_to_the_bit,
    ),
    Law(
        "carry",
        "what a decoder carries does not grow with the target, but for a Cache",
        "keys and values joined by torch.cat at each step: nn.cache.Cache moves them without a copy",
        False,
        target_laws.carry,
    ),
)
"""Each law of the network, those of must and then those of the house."""


NOT_TRIED = "not tried, for the forms are wrong"


def check_network(network: nn.Module, laws: Sequence[Law] = LAWS) -> list[Result]:
    """Check a ``Seq2Seq`` or ``Seq2SeqModule``, on a copy in float64 and evaluation mode.

    Args:
        network: its vocabularies must have 17 source and 13 target symbols at least.
        laws: those to check; where the first of them, on forms, does not hold, the others are not tried.

    Raises:
        UserError: a vocabulary that is too small.
    """
    model = deepcopy(seq2seq(network)).double().eval()
    sizes = (_symbols(model.src_embedding), SRC_VOCAB), (_symbols(model.tgt_embedding), TGT_VOCAB)
    for size, least in sizes:
        if size < least:
            raise UserError(f"a vocabulary of {size} symbols is too small to check: it must have {least} or more")
    results: list[Result] = []
    for law in laws:
        if any(result.law is FORMS and result.status == "FAILS" for result in results):
            results.append(Result(law, "not applicable", NOT_TRIED))
        else:
            results.append(_result(law, model))
    return results


def _result(law: Law, model: nn.Module) -> Result:
    try:
        law.check(model)
    except NotApplicable as reason:
        return Result(law, "not applicable", str(reason))
    except (BrokenLaw, UserError) as broken:
        return Result(law, "FAILS", str(broken))
    except Exception as error:  # of the user's own code
        return Result(law, "FAILS", located(error))
    return Result(law, "ok")


def _symbols(embedding: nn.Module) -> int:
    """Return the rows of the largest table of an embedding."""
    return max((part.num_embeddings for part in embedding.modules() if isinstance(part, nn.Embedding)), default=10**9)
