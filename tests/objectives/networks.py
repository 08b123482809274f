"""Unlike families with small vocabularies, and what the tests of objectives ask of them."""

from pathlib import Path

import torch
from torch import Tensor

from s2s_lightning.model import Batch, Seq2Seq
from s2s_lightning.objectives import Objective
from s2s_lightning.testing import batch_of, random_pairs
from tests.contract.conftest import build

FAMILIES = ["rnn", "luong", "pointer", "transformer", "convs2s"]
"""Three recurrences, with a fixed context, with input feeding and with copying; two decoders that train in parallel."""


def network(family: str) -> Seq2Seq:
    """In float64, in evaluation mode."""
    return build(Path(f"configs/{family}.yaml")).double().model


def other_network(family: str) -> Seq2Seq:
    """Of another family, which copies if this one does."""
    torch.manual_seed(1)
    if family != "pointer":
        return network("convs2s" if family == "transformer" else "transformer")
    model = network(family)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def without_dropout(model: Seq2Seq) -> Seq2Seq:
    """In training mode, which then is deterministic."""
    for module in model.train().modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    return model


def some_batch(count: int = 5) -> Batch:
    """Sentences of unlike lengths, the first source empty."""
    return batch_of(random_pairs(count))


def gradient(objective: Objective, model: Seq2Seq, *batches: Batch) -> Tensor:
    """Of the objective's sums over the batches, all parameters in one vector."""
    model.zero_grad()
    for batch in batches:
        objective(model, batch).sum.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
