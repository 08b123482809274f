"""The run that ``fit`` goes on with in its own folder, and the checkpoint to go on from."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from s2s_lightning.checkpoints.checkpoint import read
from s2s_lightning.checkpoints.keys import SAVED_AT
from s2s_lightning.errors import UserError
from s2s_lightning.runs.folder import told_folder
from s2s_lightning.runs.growing_files import LINES, cut_back, set_aside
from s2s_lightning.runs.lock import hold
from s2s_lightning.runs.whole_files import TEMPORARY
from s2s_lightning.trust.signature import damage

WAIT = 10.0
"""Seconds that a run waits for another process that trains in its folder to end."""


class Run(NamedTuple):
    """A folder that the user has named, and the checkpoint to go on from; None where the run begins there."""

    folder: Path
    checkpoint: Path | None


class Found(NamedTuple):
    """A checkpoint by what it says of itself, the older first."""

    step: int
    saved_at: float
    path: Path


def named_run(given: Mapping[str, Any]) -> Run | None:
    """The run of ``--resume`` or ``--run``; None with neither.

    Every process chooses for itself, before they meet and thus before any of them can write; what an earlier start has
    left is the same for all. The first rank locks the folder before it looks.

    Raises:
        UserError: options that exclude each other; nothing to resume; another process trains there.
    """
    for option in ("resume", "run"):
        if given.get(option) == "":
            raise UserError(f"--{option} is empty, and takes the folder of a run")
    resume = given.get("resume")
    named: str | None = resume or given.get("run")
    if named is None:
        return None
    if resume:
        for other in ("run", "ckpt_path", "init_from"):
            if given.get(other):
                raise UserError(f"--resume goes on in the folder of a run, and --{other} does something else: give one")
    folder = told_folder() or Path(named).resolve()
    if resume:
        _check_folder(Path(resume))
    hold(folder, waiting(given))
    checkpoint = newest(folder)
    if resume and checkpoint is None:
        raise UserError(f"--resume {resume}: there is no whole checkpoint in {resume}/checkpoints to go on from")
    return Run(folder, checkpoint)


def waiting(given: Mapping[str, Any]) -> float:
    """Return the seconds of ``--wait``.

    Raises:
        UserError: no number from 0 on.
    """
    asked = given.get("wait")
    try:
        seconds = WAIT if asked is None else float(asked)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UserError(f"--wait={asked}: it must be a number of seconds, 0 or more")
    return seconds


def _check_folder(path: Path) -> None:
    if path.is_file():
        raise UserError(f"--resume {path} is a file, and takes the folder of a run: {path.parent.parent}, say")
    if not path.is_dir():
        raise UserError(f"--resume {path}: there is no such folder")


def newest(folder: Path) -> Path | None:
    """Return the newest intact checkpoint of a run from which it can resume. Corrupt files are skipped and reported."""
    checkpoints = sorted((folder / "checkpoints").glob("*.ckpt"))
    found = {path: _header(path) for path in checkpoints}
    torn = [path for path, header in found.items() if header is None]
    for candidate in sorted(filter(None, found.values()), reverse=True):
        if candidate.step < 0:
            continue
        if damage(candidate.path) is None:
            also = f"; torn, and passed over: {', '.join(path.name for path in torn)}" if torn else ""
            rank_zero_info(f"going on from step {candidate.step} of {candidate.path}{also}")
            return candidate.path
        torn.append(candidate.path)
    if torn:
        rank_zero_info(f"torn, and passed over: {', '.join(map(str, torn))}")
    return None


def _header(path: Path) -> Found | None:
    """Return the step and time of a checkpoint, step -1 if it holds no more than weights; None of one that cannot be
    read.
    """
    try:
        if damage(path, "/data.pkl"):
            return None
        checkpoint = read(path, check=False)
    except UserError:
        return None
    step = checkpoint["global_step"] if "optimizer_states" in checkpoint else -1
    return Found(step, checkpoint.get(SAVED_AT, path.stat().st_mtime), path)


def tidy(run: Run, growing: Iterable[str]) -> None:
    """Remove what a writing has left that was cut short, and from the logs what came after the checkpoint."""
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return
    for path in (run.folder / "checkpoints").glob(f"*.ckpt{TEMPORARY}"):
        path.unlink()
    if run.checkpoint:
        cut_back(run.folder, read(run.checkpoint).get(LINES, {}))
    else:
        set_aside(run.folder, growing)
