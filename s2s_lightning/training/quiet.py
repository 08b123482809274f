"""Filter for messages of Lightning and torch that appear in every run and that nobody can act upon."""

import logging
import re
import warnings
from typing import Any

from s2s_lightning.cluster.place import place
from s2s_lightning.errors import without_secrets

UNWORTHY = (
    "💡", "TPU available", "HPU available", "Seed set to", "Loading `train", "\nDetected KeyboardInterrupt",
    "Initializing distributed",
)  # fmt: skip


def hush() -> None:
    """Silence what Lightning says in every run and what nobody can act upon."""
    logging.setLogRecordFactory(_record)
    # Batches are gathered from memory in a millisecond: workers would cost more than they bring.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")  # the bar has its own
    # The data module begins where the checkpoint stands.
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")  # Lightning's own use of torch
    # A machine that can submit jobs may also train by itself.
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
    warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU.*")  # said in our words
    # A first step that float16's scaler skips looks so to torch, and a view is never changed in place here.
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.* before .*optimizer.step.*")
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    # The strategy refuses the callback where the network is sharded, and elsewhere there is nothing to warn of.
    warnings.filterwarnings("ignore", message="You're using the WeightAveraging callback with a model that overrides")
    # The summary lists the splits that there are.
    warnings.filterwarnings("ignore", message=".*but have no `val_dataloader`.*")
    warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero.*")
    for name in ("pytorch.utilities.rank_zero", "fabric.utilities.seed", "fabric.utilities.distributed"):
        logging.getLogger(f"lightning.{name}").addFilter(worth_saying)
    if place().rank:
        warnings.simplefilter("ignore")  # rank 0 gives the same ones


def worth_saying(record: logging.LogRecord) -> bool:
    """True if a message of Lightning's is news."""
    return not re.sub(r"^\[rank: \d+\] ", "", record.getMessage()).startswith(UNWORTHY)


def _record(*args: Any, **options: Any) -> logging.LogRecord:
    """Make the record of a message in which secrets are hidden."""
    record = logging.LogRecord(*args, **options)
    if (text := without_secrets(record.getMessage())) != record.getMessage():
        record.msg, record.args = text, ()
    return record
