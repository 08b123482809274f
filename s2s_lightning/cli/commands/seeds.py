"""``fit --seeds``: one configuration from several seeds, each a run of its own."""

import shlex
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from s2s_lightning import PROGRAM
from s2s_lightning.cli.commands.arguments import Arguments
from s2s_lightning.errors import UserError, check_at_least, check_seed

if TYPE_CHECKING:
    from s2s_lightning.experiments.seeds.group import Group

EPILOG = f"""All other options are those of fit: {PROGRAM} fit --help
example: {PROGRAM} fit --config configs/lstm.yaml --seeds 1 2 3 --parallel 2
A seed is that of initialisation, dropout and, without --data.seed, the order of the data. The same command goes on with
seeds that were stopped or have failed, trains seeds that are new, and prints the table of those that are done."""

TAKEN = {
    "--seed_everything": "--seeds takes its place",
    "--run": "each seed has a folder of its own, in --folder",
    "--resume": "the same command goes on with what is not finished",
    "--ckpt_path": "the same command goes on with what is not finished; --init_from begins from other weights",
}
"""Options of ``fit`` that make no sense here, and why."""


def arguments() -> Arguments:
    parser = Arguments("fit", "Train one configuration from several seeds, each a run of its own.", EPILOG)
    add = parser.add_argument
    add("--seeds", metavar="N", nargs="*", type=int, required=True, help="the seeds, such as 1 2 3")
    add("--parallel", metavar="N", type=int, default=1, help="seeds at once, which share the cores (default: 1)")
    add(
        "--folder",
        metavar="DIR",
        help="of the runs (default: runs/seeds/ and the name of the first configuration file)",
    )
    add("--table", action="store_true", help="train nothing, show the table alone")
    add(
        "--slurm", metavar="OPTIONS",
        help="submit an array job of the seeds with these options of sbatch: --slurm '--partition=gpu --time=2:00:00'",
    )  # fmt: skip
    return parser


def parsed(args: Sequence[str]) -> tuple[Namespace, list[str]]:
    """Our options, and those of ``fit``.

    Raises:
        UserError: they make no sense together.
    """
    options, others = arguments().parse_known_args(joined(args))
    if not options.seeds:
        raise UserError("--seeds needs a number for each run, such as --seeds 1 2 3")
    if twice := sorted({seed for seed in options.seeds if options.seeds.count(seed) > 1}):
        raise UserError(f"--seeds has {twice[0]} twice; a seed is one run")
    for seed in options.seeds:
        check_seed(seed, "--seeds")
    check_at_least(1, **{"--parallel": options.parallel})
    for word in others:
        if why := TAKEN.get(word.partition("=")[0]):
            raise UserError(f"{word.partition('=')[0]} does not go with --seeds: {why}")
    return options, others


def joined(args: Sequence[str]) -> list[str]:
    """``--slurm X`` as ``--slurm=X``: what sbatch takes begins with hyphens, too."""
    words: list[str] = []
    for word in args:
        if words and words[-1] == "--slurm":
            words[-1] = f"--slurm={word}"
        else:
            words.append(word)
    return words


def run(command: str, args: Sequence[str]) -> None:
    options, others = parsed(args)

    from s2s_lightning.config.config_files import config_files
    from s2s_lightning.experiments.seeds.group import Group
    from s2s_lightning.experiments.seeds.seeds_report import report

    files = config_files(others)
    folder = Path(options.folder or Path("runs/seeds", files[0].stem if files else "fit"))
    group = Group.of(folder, others, options.seeds)
    if options.table:
        print(report(group))
    elif options.slurm is None:
        train(group, options.parallel)
    else:
        submit(group, options)


def train(group: "Group", parallel: int) -> None:
    """Train what is left, so many at once, then report, also when it was stopped.

    Raises:
        UserError: seeds have failed.
    """
    from s2s_lightning.experiments.jobs.screen_lines import Lines
    from s2s_lightning.experiments.seeds.runner import Runner
    from s2s_lightning.experiments.seeds.seeds_report import report

    lines = Lines(len(group.seeds), "seeds")
    runner = Runner(group, parallel, lines)
    try:
        runner.run()
    except KeyboardInterrupt:
        lines.say("stopped; the same command goes on")
        raise
    finally:
        lines.close()
        print(report(group))
    if runner.causes:
        number, cause = next(iter(runner.causes.items()))
        raise UserError(f"{len(runner.causes)} of {len(group.seeds)} seeds failed; seed {number}: {cause}")


def submit(group: "Group", options: Namespace) -> None:
    """Write the array job of the seeds that are left, and submit it."""
    from s2s_lightning.experiments.jobs import slurm_array

    if not group.left:
        raise UserError("--slurm: all seeds are finished; the same command without it shows their table")
    logs = group.folder / "slurm"
    logs.mkdir(exist_ok=True)
    path = group.folder / "seeds.sbatch"
    how = {"parallel": options.parallel, "options": f"--requeue {options.slurm}", "command": task(group)}
    # as in scripts/slurm.sbatch: the ranks get the signal, save, and requeue their task
    path.write_text(slurm_array.script(group.name, logs, tasks=len(group.left), signal="USR1@120", **how))
    print(f"{path} trains {len(group.left)} seeds, each as a task of its own")
    print(slurm_array.submit(path))
    print("the table, at any time: the same command with --table in the place of --slurm")


def task(group: "Group") -> str:
    """Return the command of a task of the array, as a shell reads it: the seed of its number."""
    from s2s_lightning.experiments.seeds.runner import GROUP

    numbers = " ".join(str(seed.number) for seed in group.left)
    own = f"--seed_everything=$seed --run={shlex.quote(str(group.folder))}/seed_$seed"
    return f"""seeds=({numbers})
seed=${{seeds[SLURM_ARRAY_TASK_ID - 1]}}
export {GROUP}=${{{GROUP}:-{shlex.quote(group.name)}}}
srun --kill-on-bad-exit=1 env --block-signal=USR1,TERM {shlex.join(group.command)} {own}"""
