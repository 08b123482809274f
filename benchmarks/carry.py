"""How much a decoder carries from step to step: bytes of a hypothesis after so many tokens, of every configuration.

    python benchmarks/carry.py

What grows is a key/value cache; recurrent and state-space families and convolutions carry the same at every step. What
is fixed for a sentence, such as projected encoder states, is not counted.
"""

import argparse
from pathlib import Path

import torch
import yaml
from torch import Tensor

from s2s_lightning import EOS
from s2s_lightning.checkpoints.checkpoint import instantiate
from s2s_lightning.model import Seq2Seq, State, tree_map
from s2s_lightning.training.module import Seq2SeqModule

VOCABULARY = 100
"""Symbols of both sides; the carry does not depend on it."""
TOKENS = (1, 10, 100, 1000)


def network(config: Path) -> Seq2Seq:
    """That of a configuration, in float32."""
    spec = yaml.safe_load(config.read_text())["model"]
    sizes = {"src_vocab_size": VOCABULARY, "tgt_vocab_size": VOCABULARY}
    module: Seq2SeqModule = instantiate({**spec, "init_args": {**spec["init_args"], **sizes}}, Seq2SeqModule)
    return module.eval().model


def size(state: State) -> int:
    """Bytes of memory that the carry holds."""
    held: dict[int, int] = {}

    def count(x: Tensor) -> Tensor:
        held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    tree_map(count, state.carry)
    return sum(held.values())


@torch.inference_mode()
def sizes(model: Seq2Seq, source: int) -> list[int]:
    """Of one hypothesis after each of ``TOKENS``, token by token, for a source of so many tokens."""
    src = torch.full((1, source), EOS)
    state, found = model.start(src, torch.zeros_like(src, dtype=torch.bool)), []
    for length in range(1, TOKENS[-1] + 1):
        state = model.step(src[:, :1], state).state
        if length in TOKENS:
            found.append(size(state))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", type=Path, nargs="*", help="(default: all of configs/)")
    parser.add_argument("--source", type=int, default=20, help="tokens of the source")
    args = parser.parse_args()
    print("| bytes after ... tokens |", " | ".join(f"{length:,}" for length in TOKENS), "|")
    print("|---" * (len(TOKENS) + 1) + "|")
    for config in args.configs or sorted(Path("configs").glob("*.yaml")):
        print(f"| {config.stem} |", " | ".join(f"{x:,}" for x in sizes(network(config), args.source)), "|", flush=True)


if __name__ == "__main__":
    main()
