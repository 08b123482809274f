"""Gradients through time of an Elman network and an LSTM that learn to copy a long sequence: a picture and a table.

    python benchmarks/gradient_flow.py --picture docs/experiments/gradient_flow.png

Both have one layer, read forwards, and hand nothing but their last state to the decoder, so that the loss of the first
tokens is felt in the encoder's first steps through the whole sequence or not at all. The Elman network begins once with
an orthogonal recurrent matrix, as this package's does, and once with the usual one, uniform in +-1 / sqrt(D).
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from s2s_lightning import BOS, EOS
from s2s_lightning.callbacks.diagnostics.gradient_flow import Norm, means, slope
from s2s_lightning.callbacks.diagnostics.through_time import encoder_norms
from s2s_lightning.families import LSTM, RNN
from s2s_lightning.model import Batch, Seq2Seq
from s2s_lightning.objectives import LabelSmoothedCrossEntropy
from s2s_lightning.plotting.lines import Chart, Line, save
from s2s_lightning.training.module import Seq2SeqModule

SYMBOLS = 8
SIZES = {"src_vocab_size": 4 + SYMBOLS, "d_embedding": 32, "d_model": 128, "num_layers": 1, "dropout": 0.0}
ROWS = 32
HELD_OUT = 8
SEED = 0


def uniform_rnn() -> RNN:
    """Elman's network as torch initialises it."""
    module = RNN(**SIZES)
    for part in (module.model.encoder, module.model.decoder):
        part.recurrence.rnn.reset_parameters()
    return module


NETWORKS: dict[str, Callable[[], Seq2SeqModule]] = {
    "Elman, uniform": uniform_rnn,
    "Elman, orthogonal": lambda: RNN(**SIZES),
    "LSTM": lambda: LSTM(**SIZES),
}


def draw_batch(rows: int, length: int, generator: torch.Generator) -> Batch:
    """Random sequences to copy."""
    ids = torch.randint(4, 4 + SYMBOLS, (rows, length), generator=generator)
    begin, end = torch.full((rows, 1), BOS), torch.full((rows, 1), EOS)
    src = torch.cat([ids, end], 1)
    tokens = torch.tensor(float(src.numel()))
    return Batch(
        src, torch.zeros_like(src, dtype=torch.bool), torch.cat([begin, ids], 1), src, tokens, torch.arange(rows)
    )


def look(model: Seq2Seq, held_out: list[Batch], step: int) -> list[Norm]:
    """The encoder's norms for each sentence."""
    found: list[Norm] = []
    for index, batch in enumerate(held_out):
        norms = encoder_norms(model, batch)
        assert norms is not None
        found += [Norm(step, "encoder", index, distance, norm) for distance, norm in enumerate(norms.tolist())]
    return found


def learn(module: Seq2SeqModule, length: int, steps: list[int]) -> tuple[list[list[Norm]], list[Tensor]]:
    """Norms and training losses per token (nats) at these numbers of steps."""
    generator = torch.Generator().manual_seed(SEED)
    held_out = [draw_batch(1, length, generator) for _ in range(HELD_OUT)]
    module.objective = LabelSmoothedCrossEntropy(label_smoothing=0.0)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    found, losses = [], []
    for step in range(steps[-1] + 1):
        batch = draw_batch(ROWS, length, generator)
        loss = module.objective(module.model, batch).sum / batch.divisor
        if step in steps:
            found.append(look(module.model, held_out, step))
            losses.append(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    return found, losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, default=Path("gradient_flow.png"))
    parser.add_argument("--length", type=int, default=50, help="tokens to copy")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 100, 300, 1000], help="after which to look")
    args = parser.parse_args()
    print("| network | step | loss, nats a token | slope, orders of magnitude a step |")
    print("|---|--:|--:|--:|")
    charts = []
    for name, new in NETWORKS.items():
        torch.manual_seed(SEED)
        looks, losses = learn(new(), args.length, args.steps)
        for step, norms, loss in zip(args.steps, looks, losses, strict=True):
            print(f"| {name} | {step:,} | {loss:.2f} | {slope(norms):.3f} |", flush=True)
        lines = [Line(f"step {n[0].step:,}", *zip(*means(n), strict=True)) for n in looks]
        charts.append(Chart(name, "steps to the end of the source", "|dL/dh|", lines))
    save(charts, args.picture)


if __name__ == "__main__":
    main()
