"""Mixed precision: products in half, all that sums, exponentiates or normalises in float32, whatever the family."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from s2s_lightning.model import Batch
from s2s_lightning.testing import batch_of, random_pairs
from tests.contract.conftest import build
from tests.objectives.networks import without_dropout

HALF = (torch.bfloat16, torch.float16)

SENSITIVE = {
    "_softmax", "_log_softmax", "logsumexp", "logcumsumexp", "logaddexp", "log_sigmoid_forward", "softplus",
    "nll_loss_forward", "native_layer_norm", "_fused_rms_norm", "native_group_norm", "rsqrt", "exp", "exp_", "expm1",
    "log", "log_", "log1p", "cumsum", "cumsum_", "cumprod", "cummax", "linalg_solve_triangular",
    "_softmax_backward_data", "_log_softmax_backward_data", "native_layer_norm_backward", "_fused_rms_norm_backward",
}  # fmt: skip
"""Of torch's own operations. Fused attention has its softmax inside, in float32."""

SUMS = {"sum", "mean"}
"""In the loss and in norms of one's own. The gradient of a bias is a sum of halves, with a float32 accumulator."""


class InHalf(TorchDispatchMode):
    """Names the operations of a set that are given numbers of 16 bits."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.names = names
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.split(".")[0]
        if name in self.names and any(isinstance(x, Tensor) and x.dtype in HALF for x in args):
            self.found.add(name)
        return func(*args, **(kwargs or {}))


SHORT, LONG = batch_of(random_pairs(4, longest=5)), batch_of(random_pairs(4, longest=40, seed=1))
"""Attention computes few queries in another way than many."""


@pytest.mark.parametrize(("half", "batch"), [(torch.bfloat16, SHORT), (torch.bfloat16, LONG), (torch.float16, SHORT)])
def test_softmax_norms_recurrences_and_loss_stay_in_float32(config: Path, half: torch.dtype, batch: Batch) -> None:
    module = build(config)
    without_dropout(module.model)
    if half == torch.float16 and any(isinstance(part, torch.nn.LSTM) for part in module.modules()):
        pytest.skip("torch's own LSTM has no float16 on CPUs")
    with InHalf(SENSITIVE | SUMS) as forward, torch.autocast("cpu", half):
        total, tokens, _ = module.objective(module.model, batch)
        weighed = module.model.teacher_force(batch, need_weights=True).attention
    with InHalf(SENSITIVE) as backward:
        total.backward()
    assert not forward.found | backward.found
    assert weighed is None or torch.isfinite(weighed).all()
    exact = module.objective(module.model, batch).sum / tokens
    torch.testing.assert_close(total / tokens, exact, rtol=0, atol=0.02)
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)
