"""The checkpoint that a folder stands for."""

from functools import cache
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info

from s2s_lightning.errors import UserError


def checkpoint_in(path: str | Path) -> Path:
    """Return the best checkpoint of a run's folder, or its last one, and say which; return any other path as it is.

    Raises:
        UserError: the folder of a run that has no checkpoint yet, or a folder of several runs.
    """
    folder = Path(path)
    if not folder.is_dir() or (folder / "model.json").is_file():  # an exported folder is read as a whole
        return folder
    inside = folder if folder.name == "checkpoints" else folder / "checkpoints"
    for name in ("best.ckpt", "last.ckpt"):
        if (inside / name).is_file():
            _say(inside / name)
            return inside / name
    if (folder / "latest").is_dir():
        raise UserError(f"{path} is a folder of several runs: give one of them, {path}/latest for example")
    if inside.is_dir() or (folder / "run.json").is_file():
        raise UserError(f"{path} is the folder of a run without a checkpoint: there is no {inside}/best.ckpt")
    return folder


@cache
def _say(path: Path) -> None:
    rank_zero_info(f"checkpoint  {path}")
