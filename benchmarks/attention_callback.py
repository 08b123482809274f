"""What the callback ``Attention`` costs: a training step with it and without, and one validation.

    python benchmarks/attention_callback.py

Both runs take turns in one process, over the same batches; a ratio is of minima of processor time, so that what else
the machine does counts little. Validation is given as seconds in all, of which the pictures are most.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from s2s_lightning.callbacks import Attention
from s2s_lightning.data import Characters, Generated, Seq2SeqData
from s2s_lightning.families import Transformer


class Clock(Callback):
    """Processor time from the end of a training step to the end of the next, hooks of all callbacks included."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self._last: float | None = None

    def on_train_batch_end(self, *_: Any) -> None:
        now = time.process_time()
        if self._last is not None:
            self.steps.append(now - self._last)
        self._last = now


def run(folder: Path, data: Seq2SeqData, attention: bool, steps: int) -> list[float]:
    """The times of the steps of one short training."""
    clock = Clock()
    data.setup("fit")
    sizes = {"src_vocab_size": data.src_vocab_size, "tgt_vocab_size": data.tgt_vocab_size}
    trainer = Trainer(
        default_root_dir=folder,
        max_steps=steps,
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[*([Attention()] if attention else []), clock],
    )
    trainer.fit(Transformer(d_model=128, num_heads=4, d_ff=256, **sizes), datamodule=data)
    return clock.steps


def validation(folder: Path, data: Seq2SeqData, attention: bool) -> float:
    """Seconds of processor time of one validation."""
    sizes = {"src_vocab_size": data.src_vocab_size, "tgt_vocab_size": data.tgt_vocab_size}
    options: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = Trainer(default_root_dir=folder, callbacks=[Attention()] if attention else [], **options)
    model, start = Transformer(d_model=128, num_heads=4, d_ff=256, **sizes), time.process_time()
    trainer.validate(model, datamodule=data, verbose=False)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12)
    args = parser.parse_args()
    corpus = Generated("reverse", max_length=20, train_pairs=4000, val_pairs=50)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        data = Seq2SeqData(corpus, Characters(), max_tokens=1024, cache_dir=root)
        data.prepare()
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(args.rounds):
            for attention in times:
                times[attention] += run(folder, data, attention, args.steps)
        without, with_it = (min(times[attention]) for attention in times)
        print(f"training step: {1000 * without:.1f} ms without, ratio with to without {with_it / without:.3f}")
        found = {attention: min(validation(folder, data, attention) for _ in range(2)) for attention in times}
        print(f"validation: {found[True] - found[False]:.2f} s more for six sentences")


if __name__ == "__main__":
    main()
