"""A SLURM job that is interrupted goes back into the queue that it came from."""

import os
import re
import subprocess

PARTS = ("S2S_LIGHTNING_TRIAL", "S2S_LIGHTNING_SEED", "WANDB_SWEEP_ID")
"""Variables of a training that is a part of its job: what has started it decides what becomes of that."""


def own_job() -> str | None:
    """The SLURM job that this training is all of; None where there is none.

    The number of one task of an array is also that of the array, whose others are not ours.
    """
    if any(map(os.environ.get, PARTS)):
        return None
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def requeue(job: str) -> bool:
    """Put a running job back into its queue; False, with the reason printed, where that cannot be.

    SLURM ends all processes of the job at once, so it is the last thing that a run does. A job that its user has
    cancelled is no longer running, and stays cancelled.
    """
    shown = _scontrol("show", "job", job)
    state = re.search(r"JobState=(\w+)", shown.stdout)
    if state and state[1] != "RUNNING":
        print(f"job {job} is {state[1].lower()}: it is not requeued", flush=True)
        return False
    done = _scontrol("requeue", job)
    print(f"job {job} is requeued" if done.returncode == 0 else f"scontrol: {done.stderr.strip()}", flush=True)
    return done.returncode == 0


def _scontrol(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["scontrol", *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
