"""A SLURM array job: each of its tasks runs one trial of a shared study, or one seed."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from s2s_lightning.errors import UserError

TEMPLATE = """#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=1-{tasks}{at_once}
#SBATCH --output={logs}/%a.log
#SBATCH --open-mode=append
#SBATCH --signal={signal}
{options}
cd {place}
{command}
"""


def script(name: str, logs: Path, *, tasks: int, parallel: int, signal: str, options: str, command: str) -> str:
    """The batch script.

    Args:
        name: of the job.
        logs: folder of the tasks' output.
        tasks: of the array.
        parallel: how many of them may run at once; 1 is no limit here, where each has a machine of its own.
        signal: which a task gets some time before its time is out, as sbatch writes it: ``B:TERM@120``.
        options: of sbatch, as they are typed.
        command: what a task runs, in the folder that we are in; a shell reads it.
    """
    return TEMPLATE.format(
        name=name,
        tasks=tasks,
        signal=signal,
        at_once=f"%{parallel}" if parallel > 1 else "",
        logs=logs.absolute(),
        options="".join(f"#SBATCH {option}\n" for option in _options(options)),
        place=shlex.quote(os.getcwd()),
        command=command,
    )


def _options(text: str) -> list[str]:
    """One a line: ``-p gpu --time=1:00`` are two."""
    found: list[str] = []
    for word in shlex.split(text):
        if word.startswith("-"):
            found.append(word)
        elif not found:
            raise UserError(f"--slurm {text!r}: it must be options of sbatch, such as --slurm='--time=2:00:00'")
        else:
            found[-1] += f" {shlex.quote(word)}"
    return found


def submit(path: Path) -> str:
    """Hand the script to sbatch; what it says.

    Raises:
        UserError: there is no sbatch, or it refuses.
    """
    if not shutil.which("sbatch"):
        raise UserError(f"there is no sbatch on this machine; submit it where there is one: sbatch {path}")
    result = subprocess.run(["sbatch", str(path)], capture_output=True, text=True)
    if result.returncode:
        raise UserError(f"sbatch {path} says: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout.strip()
