"""``average``: several checkpoints of one model, one checkpoint whose weights are their mean."""

import math
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from s2s_lightning import PROGRAM
from s2s_lightning.cli.commands.arguments import Arguments
from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.files import check_output, whole_file


class Candidate(NamedTuple):
    """A checkpoint that may be taken.

    Attributes:
        path: its file.
        step: optimizer steps behind it.
        score: what its run's validation said of its weights, None where they were not validated.
        better: the metric, and whether "min" or "max" of it is the best.
    """

    path: Path
    step: int
    score: float | None
    better: tuple[str, str]


def arguments() -> Arguments:
    parser = Arguments(
        "average",
        "Several checkpoints of one model -> one whose weights are their mean; generate, score, test and\n"
        "fit --init_from take it. Where a run kept a moving average of its weights (EMA), that is averaged.",
        f"example: {PROGRAM} average runs/transformer/latest --last 5 -o average.ckpt\n"
        "A run keeps more than best.ckpt and last.ckpt with fit --checkpoint.keep_last 5 or keep_best 5.",
    )
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="folder of a run, or a checkpoint; several of a run that was resumed"
    )
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="where the average goes")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--last", metavar="K", type=int, help="only the K checkpoints of most steps")
    which.add_argument("--best", metavar="K", type=int, help="only the K best by the metric that their run monitored")
    return parser


def run(command: str, args: Sequence[str]) -> None:
    options = arguments().parse(args)
    check_at_least(1, **{"--last": options.last, "--best": options.best})
    output = Path(options.output)
    check_output(output)

    import torch

    from s2s_lightning.checkpoints.version import FORMAT, FORMAT_KEY
    from s2s_lightning.checkpoints.weight_average import average
    from s2s_lightning.trust.signature import is_own, sign

    paths = chosen(options)
    if any(output.exists() and output.samefile(path) for path in paths):
        raise UserError(f"-o {output} is one of the checkpoints that are averaged: write elsewhere")
    mean = average(paths)
    with whole_file(output) as file:
        torch.save({FORMAT_KEY: FORMAT, **mean}, file)
    if output.is_file() and all(
        is_own(path) for path in paths
    ):  # or the names of another's file would pass for one's own
        sign(output)
    print("\n".join([f"{output} is the average of {len(paths)}:", *(f"  {path}" for path in paths)]))


def chosen(options: Namespace) -> list[Path]:
    """The files to average.

    Raises:
        UserError: there are fewer than asked for, or it is not said which of a folder.
    """
    found = [candidate for name in options.runs for candidate in candidates(Path(name))]
    if options.best:
        scored = by_score(found)
        return _first(scored, options.best, "--best", f"with a validation's {found[0].better[0]}")
    if options.last:
        return _first(sorted(found, key=lambda c: -c.step), options.last, "--last", "in all")
    if folder := next((name for name in options.runs if Path(name).is_dir()), None):
        raise UserError(f"{folder} is a folder: say which of its {len(found)} checkpoints, --last K or --best K")
    return [candidate.path for candidate in found]


def by_score(found: Sequence[Candidate]) -> list[Candidate]:
    """Return the validated candidates, the best first.

    Raises:
        UserError: they were not judged by the same metric.
    """
    for candidate in found:
        if candidate.better != found[0].better:
            metric, other = found[0].better[0], candidate.better[0]
            raise UserError(f"--best: {candidate.path} was chosen by {other} and {found[0].path} by {metric}")
    sign = 1 if found[0].better[1] == "min" else -1
    scored = ((sign * c.score, c.step, c) for c in found if c.score is not None and not math.isnan(c.score))
    return [c for _, _, c in sorted(scored)]


def _first(ranked: Sequence[Candidate], count: int, option: str, kind: str) -> list[Path]:
    if len(ranked) < count:
        raise UserError(
            f"{option} {count}: there are {len(ranked)} checkpoints {kind}; ask for fewer, or keep more in training: "
            f"fit --checkpoint.keep_{option[2:]} {count}"
        )
    return [candidate.path for candidate in ranked[:count]]


def candidates(path: Path) -> list[Candidate]:
    """A file itself; of a run's folder its checkpoints, one for each step, but for averages and what last.ckpt was."""
    from s2s_lightning.callbacks.checkpointing.checkpoints import PREVIOUS
    from s2s_lightning.checkpoints.checkpoint import read
    from s2s_lightning.checkpoints.keys import AVERAGE_OF

    if not path.is_dir():
        return [candidate(path, read(path))]
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    files = (file for file in sorted(folder.glob("*.ckpt")) if file.name not in PREVIOUS.values())
    contents = ((file, read(file)) for file in files)
    found = [candidate(file, content) for file, content in contents if AVERAGE_OF not in content]
    if not found:
        raise UserError(f"{path} is no folder of a run: there is no checkpoint in {folder}")
    # best.ckpt and last.ckpt may be of the same step, and one that Ctrl-C made has no score
    return list({c.step: c for c in sorted(found, key=lambda c: (c.score is not None, c.path))}.values())


def candidate(path: Path, checkpoint: dict[str, Any]) -> Candidate:
    """Return the candidate that a file describes; one that was not made by ``fit`` has no score."""
    said = checkpoint.get("callbacks", {}).get("BestAndLast", {})
    better = said.get("monitor", "no metric"), said.get("mode", "min")
    return Candidate(path, checkpoint["global_step"], said.get("score"), better)
