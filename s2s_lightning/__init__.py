"""Sequence-to-sequence research on PyTorch Lightning: every generation of the field behind one contract.

Nothing heavy is imported here, so that ``python -m s2s_lightning --help`` answers at once.
"""

import sys

if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:  # a file in the working folder must not pass for a library
    sys.path.append(sys.path.pop(0))

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s2s_lightning.inference.load import load
    from s2s_lightning.inference.trained import Trained
    from s2s_lightning.python.trainers import trainer

__version__ = "0.1.0"
PROGRAM = "python -m s2s_lightning"
__all__ = ["BOS", "EOS", "PAD", "PROGRAM", "UNK", "Trained", "__version__", "load", "trainer"]

PAD, BOS, EOS, UNK = 0, 1, 2, 3
"""The first four ids of every vocabulary. A tokenizer that the user brings is mapped onto them."""


def __getattr__(name: str) -> Any:
    if name in ("load", "Trained"):
        from s2s_lightning.checkpoints import checkpoint

        return getattr(checkpoint, name)
    if name == "trainer":
        from s2s_lightning.python import trainers

        return trainers.trainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
