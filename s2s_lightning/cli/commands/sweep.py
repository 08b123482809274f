"""``sweep``: a W&B sweep file on one's own machines, without an account."""

import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from s2s_lightning import PROGRAM
from s2s_lightning.cli.commands.arguments import Arguments
from s2s_lightning.config.shipped import shipped
from s2s_lightning.errors import UserError, check_at_least, without_secrets

if TYPE_CHECKING:
    from s2s_lightning.experiments.sweeps.study import Study
    from s2s_lightning.experiments.sweeps.sweep_settings import Sweep

STORAGE = "S2S_LIGHTNING_STORAGE"
"""Variable of the environment in the place of ``--storage``: other users of a machine see command lines."""

EPILOG = f"""example: {PROGRAM} sweep sweeps/lr.yaml --count 20 --parallel 2
The same command goes on with a sweep that was stopped, and prints the table of one that is done. Several machines share
a sweep when each runs it with the same --storage, or in the same folder of a network file system with a journal:
  --storage postgresql://user@host/database     or     --storage journal:runs/sweeps/lr/study.journal
A URL with a password is best given by ${STORAGE}, since others see command lines."""


def arguments() -> Arguments:
    parser = Arguments("sweep", "Search settings by a W&B sweep file, without an account.", EPILOG)
    add = parser.add_argument
    add(
        "file",
        metavar="FILE",
        help="a W&B sweep file, or the name of a shipped one such as lr: method grid, random or bayes, metric, "
        "parameters, command, ...",
    )
    add("--count", metavar="N", type=int, help="trials in all (default: the file's run_cap, or the size of its grid)")
    add("--parallel", metavar="N", type=int, default=1, help="trials at once, which share the cores (default: 1)")
    add(
        "--at_most",
        metavar="N",
        type=int,
        help="trials that this process starts; 0 shows the table alone (default: all)",
    )
    add(
        "--folder",
        metavar="DIR",
        help="where all goes, its name the study's (default: runs/sweeps/ and the file's name)",
    )
    add(
        "--storage",
        metavar="URL",
        help=f"the study: a database, or journal:FILE (default: ${STORAGE}, else SQLite in the folder)",
    )
    add(
        "--slurm", metavar="OPTIONS", nargs="?", const="",
        help="submit the trials as an array job with these options of sbatch: --slurm='--partition=gpu --time=2:00:00'",
    )  # fmt: skip
    return parser


def run(command: str, args: Sequence[str]) -> None:
    options = arguments().parse(args)
    check_at_least(1, **{"--count": options.count, "--parallel": options.parallel})
    check_at_least(0, **{"--at_most": options.at_most})

    from s2s_lightning.experiments.sweeps.outage import one_line
    from s2s_lightning.experiments.sweeps.storage import default_url, open_storage
    from s2s_lightning.experiments.sweeps.study import Study
    from s2s_lightning.experiments.sweeps.sweep_file import read

    options.file = shipped(options.file, "sweeps")
    sweep = read(Path(options.file))
    limit = trials_in_all(options.count, sweep)
    options.folder = Path(options.folder or Path("runs/sweeps", sweep.name))
    options.storage = (
        options.storage or os.environ.get(STORAGE) or default_url(options.folder, journal=options.slurm is not None)
    )
    storage = open_storage(options.storage, options.folder)
    with one_line():
        study = Study(sweep, storage, options.folder.name, limit)
        if options.slurm is not None:
            submit(options, study)
        else:
            drive(options, study)


def trials_in_all(count: int | None, sweep: "Sweep") -> int:
    """The number to stop at.

    Raises:
        UserError: nothing says it.
    """
    asked, grid = count or sweep.run_cap, sweep.grid_size
    if asked is None and grid is None:
        raise UserError(f"--count is needed: {sweep.method} has no end, and the file no run_cap")
    return min(number for number in (asked, grid) if number is not None)


def drive(options: Namespace, study: "Study") -> None:
    """Run trials here, then report, also when it was stopped."""
    from s2s_lightning.experiments.sweeps.driver import Driver
    from s2s_lightning.experiments.sweeps.outage import unreachable
    from s2s_lightning.experiments.sweeps.screen import Screen
    from s2s_lightning.experiments.sweeps.sweep_report import report
    from s2s_lightning.experiments.sweeps.trial_table import short_names

    screen = Screen(short_names(study.sweep.drawn), study.limit)
    try:
        Driver(study, options.folder, options.parallel, options.at_most, screen).run()
    except KeyboardInterrupt:
        screen.say(f"stopped; go on with: {typed(options)}")
        raise
    finally:
        screen.close()
        with suppress(*unreachable()):  # which is said below, or has been
            print(report(study, options.folder))
    check_results(study)


def check_results(study: "Study") -> None:
    """Raises UserError when trials have failed and none has a result."""
    causes = [trial.user_attrs["cause"] for trial in study.real() if "cause" in trial.user_attrs]
    if causes and all(trial.value is None for trial in study.real()):
        raise UserError(f"no trial has a result; the last failed with: {causes[-1]}")


def again(options: Namespace) -> list[str]:
    """The arguments that go on with this study."""
    count = [] if options.count is None else ["--count", str(options.count)]
    storage = [] if has_secret(options.storage) else ["--storage", options.storage]
    return [options.file, "--folder", str(options.folder), *storage, *count]


def has_secret(url: str) -> bool:
    """True if a password stands in an address: it then travels by ``STORAGE`` and not by a command line or a file."""
    return without_secrets(url) != url


def typed(options: Namespace, *more: str) -> str:
    """The command that goes on with this study, as it is typed."""
    variable = f"{STORAGE}=URL " if has_secret(options.storage) else ""
    return f"{variable}{PROGRAM} {shlex.join(['sweep', *again(options), *more])}"


def submit(options: Namespace, study: "Study") -> None:
    """Write the array job of the trials that are left, and submit it."""
    from s2s_lightning.experiments.jobs import slurm_array

    if not (left := study.limit - len(study.real())):
        raise UserError(f"--slurm: all {study.limit} trials are done or running; ask for more with --count")
    logs = options.folder / "slurm"
    logs.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "s2s_lightning", "sweep", *again(options), "--at_most", "1"]
    path = options.folder / "sweep.sbatch"
    how = {"parallel": options.parallel, "options": options.slurm, "command": f"exec {shlex.join(words)}"}
    # B and exec: it is the sweep itself that gets SIGTERM, and gives its trial back
    path.write_text(slurm_array.script(study.sweep.name, logs, tasks=left, signal="B:TERM@120", **how))
    print(f"{path} runs {left} trials, each as a task of its own")
    os.environ[STORAGE] = options.storage  # a job gets the environment of who submits it
    print(slurm_array.submit(path))
    print(f"the table, at any time: {typed(options, '--at_most', '0')}")
