"""What ranks do: each function runs on all of them and returns what the test compares."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from s2s_lightning import PAD
from s2s_lightning.__main__ import main, run
from s2s_lightning.callbacks.weights.ema import EMA
from s2s_lightning.callbacks.weights.freeze import Freeze
from s2s_lightning.data import Seq2SeqData
from s2s_lightning.data.bucket_sampler import Normaliser
from s2s_lightning.data.corpora import Generated
from s2s_lightning.errors import UserError
from s2s_lightning.families import Hybrid, Luong, Transformer
from s2s_lightning.families.pointer import PointerDecoder
from s2s_lightning.families.transformer import TransformerEncoder
from s2s_lightning.model import Batch, Decoder
from s2s_lightning.objectives import (
    ConstantDecay,
    CoverageLoss,
    Distillation,
    LabelSmoothedCrossEntropy,
    Objective,
    RDrop,
    ScheduledSampling,
)
from s2s_lightning.testing import batch_of
from s2s_lightning.training.fsdp_strategy import FSDP
from s2s_lightning.training.module import Seq2SeqModule
from tests.contract.conftest import CONFIGS, build
from tests.distributed.ranks import TIMEOUT, quiet_trainer, world
from tests.objectives.networks import without_dropout

SIZE = 4
"""Sentences of a batch."""


def data(pairs: int, evaluated: int = 0, normaliser: Normaliser = "tokens") -> Seq2SeqData:
    """Pairs of 1 to 9 tokens."""
    sizes = {"train_pairs": pairs, "val_pairs": evaluated, "test_pairs": 0}
    return Seq2SeqData(Generated("reverse", max_length=9, symbols=6, **sizes), batch_size=SIZE, normaliser=normaliser)


class AgainstOneBatch(Callback):
    """Compares the gradients of each step, before clipping, with those of one batch of all that any rank has read.

    Attributes:
        errors: of each step the largest difference, over the largest gradient.
        tokens: of each step, the real target tokens of each rank.
    """

    def __init__(self) -> None:
        self.pairs: dict[int, tuple[list[int], list[int]]] = {}
        self.errors: list[float] = []
        self.tokens: list[list[int]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        if batch.divisor.isfinite():  # what is repeated weighs nothing
            for row, src, tgt in zip(batch.rows.tolist(), batch.src, batch.tgt_out, strict=True):
                assert row not in self.pairs
                self.pairs[row] = (real(src), real(tgt))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        ranks: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(ranks, self.pairs)
        self.tokens.append([sum(len(tgt) + 1 for _, tgt in rank.values()) for rank in ranks])
        together = [pair for rank in ranks for pair in rank.values()]
        assert len(together) == len({row for rank in ranks for row in rank})
        self.pairs = {}
        if trainer.is_global_zero:
            self.errors.append(difference(pl_module, batch_of(together), constant_of(trainer)))


def constant_of(trainer: Trainer) -> float | None:
    """Return the mean target tokens of an effective batch, in float32; None where each has its own divisor."""
    loaded: Any = trainer.datamodule  # type: ignore[attr-defined]
    if loaded.normaliser == "tokens":
        return None
    steps = -(-trainer.num_training_batches // trainer.accumulate_grad_batches)
    tokens = int((loaded.store("train").tgt.lengths() + 1).sum())
    return torch.tensor(tokens / steps).item()


def real(ids: Tensor) -> list[int]:
    """Without padding and EOS."""
    return ids[ids != PAD].tolist()[:-1]


def difference(module: Any, batch: Batch, divisor: float | None = None) -> float:
    """Between the gradients that are there and those of this batch alone, over the largest of them."""
    trained = [p for p in module.parameters() if p.requires_grad]
    total, tokens, _ = module.objective(module.model, batch)
    expected = torch.autograd.grad(total / (divisor or tokens), trained, allow_unused=True)
    pairs = [(p.grad, e) for p, e in zip(trained, expected, strict=True) if not (p.grad is None and e is None)]
    largest = max(e.abs().max() for _, e in pairs)
    return float(max((g - e).abs().max() for g, e in pairs) / largest)


class Case(NamedTuple):
    """Something to be trained: a network in training mode, what it minimises, and callbacks that change either."""

    module: Callable[[], Seq2SeqModule]
    objective: Callable[[], Objective] = LabelSmoothedCrossEntropy
    callbacks: Callable[[], list[Callback]] = list
    precision: str = "64-true"
    normaliser: Normaliser = "tokens"
    pairs: int | None = None  # of the corpus; None for three batches a rank, the last of all short


def of_config(family: str) -> Seq2SeqModule:
    """The network of a configuration."""
    return build(Path(f"configs/{family}.yaml"))


def hybrid(decoder: Callable[..., Decoder]) -> Seq2SeqModule:
    """A decoder on a Transformer's encoder."""
    return Hybrid(17, 13, encoder=TransformerEncoder, decoder=partial(decoder, d_model=32), d_embedding=32)


def distillation() -> Objective:
    """With a teacher of another family."""
    objective = Distillation("teacher.ckpt")
    objective.attach(lambda path: of_config("lstm").double().model)
    return objective


def luong(score: str, window: str = "global") -> Callable[[], Seq2SeqModule]:
    """A small one."""
    return partial(Luong, 17, 13, d_embedding=16, d_model=16, score=score, window=window, window_radius=2)  # type: ignore[arg-type]


FAMILIES = {path.stem: Case(partial(of_config, path.stem)) for path in CONFIGS}

VARIANTS = {
    "fewer pairs than ranks": Case(partial(of_config, "transformer"), pairs=1),
    "a constant divisor": Case(partial(of_config, "transformer"), normaliser="constant"),
    "float32": Case(partial(of_config, "transformer"), precision="32-true"),
    "Luong with dot": Case(luong("dot")),
    "Luong with concat": Case(luong("concat")),
    "Luong with location": Case(luong("location")),
    "Luong with local-m": Case(luong("general", "monotonic")),
    "Luong with local-p": Case(luong("general", "predictive")),
    "a pointer's decoder below a readout that does not copy": Case(partial(hybrid, PointerDecoder)),
    "a frozen encoder": Case(partial(of_config, "lstm"), callbacks=lambda: [Freeze("encoder.*")]),
    "LayerDrop": Case(partial(Transformer, 17, 13, d_model=16, num_heads=2, d_ff=32, layer_drop=0.5)),
    "a moving average": Case(partial(of_config, "gru"), callbacks=lambda: [EMA(0.9)]),
    "R-Drop": Case(partial(of_config, "transformer"), RDrop),
    "coverage": Case(partial(of_config, "pointer"), CoverageLoss),
    "distillation": Case(partial(of_config, "transformer"), distillation),
    "scheduled sampling": Case(partial(of_config, "gru"), lambda: ScheduledSampling(ConstantDecay(0.0), passes="two")),
}


class Steps(NamedTuple):
    """What a rank has seen of some steps: see ``AgainstOneBatch``; and its weights after them."""

    errors: list[float]
    tokens: list[list[int]]
    weights: Tensor


def fit(case: Case, folder: str, **options: Any) -> Steps:
    """An epoch."""
    watch, module = AgainstOneBatch(), case.module()
    without_dropout(module.model)
    module.objective = case.objective()
    module.optimizer = partial(torch.optim.SGD, lr=0.1)
    # Lightning's default, which deals out once more whatever it does not know to be dealt out
    lightning = {"use_distributed_sampler": True}
    settings = {"max_epochs": 1, "gradient_clip_val": 0.1, "precision": case.precision, **lightning}
    trainer = quiet_trainer(Path(folder), callbacks=[watch, *case.callbacks()], **settings, **options)
    trainer.fit(module, datamodule=data(case.pairs or 3 * SIZE * world() - 1, normaliser=case.normaliser))
    return Steps(watch.errors, watch.tokens, torch.nn.utils.parameters_to_vector(module.parameters()).detach())


def gradients(folder: str, cases: str, plain: Sequence[str] = ()) -> dict[str, list[Steps]]:
    """Of each case with accumulation, the last window being short; of ``plain`` ones without, too."""
    found = {}
    for name, case in CASES[cases].items():
        found[name] = [fit(case, folder, accumulate_grad_batches=2)]
        if name in plain:
            found[name].append(fit(case, folder, limit_train_batches=1))
    return found


class Trained(NamedTuple):
    """What a training has come to: its weights, and the validation sentences as the search has decoded them."""

    weights: Tensor
    hypotheses: dict[int, list[int]]


class Decoded(Callback):
    """Keeps what validation has decoded on this rank."""

    def __init__(self) -> None:
        self.hypotheses: dict[int, list[int]] = {}

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *position: int
    ) -> None:
        for row, best in zip(outputs["index"].tolist(), outputs["hypotheses"], strict=True):
            self.hypotheses[row] = best[0].tokens


def sharded(folder: str, families: Sequence[str]) -> dict[str, dict[str, Trained]]:
    """Of each family a training by DDP and by FSDP."""
    return {family: {name: trained(family, folder, name) for name in STRATEGIES} for family in families}


def trained(family: str, folder: str, strategy: str) -> Trained:
    """Three steps with momentum, and a validation."""
    module, decoded = of_config(family), Decoded()
    module.configure_callbacks = list  # type: ignore[method-assign]  # its ids are not those of the data: no texts
    without_dropout(module.model)
    module.optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    options = {"strategy": STRATEGIES[strategy](timeout=TIMEOUT), "gradient_clip_val": 0.1, "max_epochs": 1}
    quiet_trainer(Path(folder), callbacks=[decoded], **options).fit(module, datamodule=data(3 * SIZE * world(), 7))
    state = [x.full_tensor() if isinstance(x, DTensor) else x for x in module.state_dict().values()]
    return Trained(torch.cat([x.flatten() for x in state if x.is_floating_point()]), decoded.hypotheses)


STRATEGIES: dict[str, Callable[..., Any]] = {"ddp": DDPStrategy, "fsdp": FSDP}


def commands(*lines: Sequence[str]) -> None:
    """Command lines, one after the other."""
    for line in lines:
        main(line)


def sharding(folder: str, families: Sequence[str], lines: Sequence[Sequence[str]]) -> dict[str, dict[str, Trained]]:
    """Both of the above."""
    found = sharded(folder, families)
    commands(*lines)
    return found


def as_nodes(line: Sequence[str]) -> None:
    """A command line on machines with one process each: nobody is told a rank, but each the number of its machine."""
    os.environ["NODE_RANK"] = os.environ.pop("LOCAL_RANK")
    main(line)


class Unused(Transformer):
    """With a weight that nothing depends on."""

    def __init__(self, src_vocab_size: int, tgt_vocab_size: int | None = None) -> None:
        sizes = {"d_model": 16, "num_heads": 2, "d_ff": 32, "num_encoder_layers": 1, "num_decoder_layers": 1}
        super().__init__(src_vocab_size, tgt_vocab_size, **sizes)  # type: ignore[arg-type]
        self.model.unused = nn.Parameter(torch.zeros(3))


def refused(line: Sequence[str]) -> str:
    """What a command line is refused with."""
    try:
        run(line)
    except UserError as error:
        return str(error)
    return ""


CASES = {"families": FAMILIES, "variants": VARIANTS}
