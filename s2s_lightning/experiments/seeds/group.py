"""The runs of one configuration from several seeds, in one folder."""

import fcntl
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from s2s_lightning.config.config_files import config_files, mapping
from s2s_lightning.errors import UserError, make_folder
from s2s_lightning.experiments.sweeps.sweep_settings import differences
from s2s_lightning.files import write_whole
from s2s_lightning.runs.finished import is_finished


@dataclass(frozen=True)
class Seed:
    """A run."""

    number: int
    folder: Path

    @property
    def finished(self) -> bool:
        """Trained to its end, and tested where it was to be."""
        return is_finished(self.folder)


@dataclass(frozen=True)
class Group:
    """The seeds, and what they have in common.

    Attributes:
        folder: of all of them; its name is that of the system, and of the group at W&B.
        arguments: of ``fit``, but for the seed and the folder.
    """

    folder: Path
    arguments: Sequence[str]
    seeds: Sequence[Seed]

    @classmethod
    def of(cls, folder: Path, arguments: Sequence[str], numbers: Sequence[int]) -> "Group":
        """The group in a folder, which it keeps for this command line once a seed is being trained.

        Raises:
            UserError: its seeds are of another command line, or of configuration files that have changed.
        """
        files = {str(path): mapping(str(path)) for path in config_files(arguments)}
        said = json.loads(json.dumps({"arguments": " ".join(arguments), "files": files}, default=str))
        make_folder(folder)
        file = folder / "seeds.json"
        if not any(folder.glob("seed_*/run.json")):
            write_whole(file, json.dumps(said, indent=2) + "\n")
        elif changes := list(differences(json.loads(file.read_text()), said)):
            raise UserError(
                f"the seeds in {folder} are of another configuration ({'; '.join(changes)}): undo the change, or give "
                "--folder to begin others"
            )
        return cls(folder, arguments, [Seed(number, folder / f"seed_{number}") for number in numbers])

    @property
    def name(self) -> str:
        return self.folder.absolute().name

    @property
    def left(self) -> list[Seed]:
        """Return the seeds that are not finished."""
        return [seed for seed in self.seeds if not seed.finished]

    @property
    def command(self) -> list[str]:
        """The command line of a seed without what is its own."""
        said = any(word.startswith("--test_best") for word in self.arguments)
        tested = [] if said else ["--test_best=true"]
        return [sys.executable, "-m", "s2s_lightning", "fit", *self.arguments, *tested]

    def words(self, seed: Seed) -> list[str]:
        """The command line that begins a seed and goes on with it."""
        return [*self.command, f"--seed_everything={seed.number}", f"--run={seed.folder}"]

    @contextmanager
    def held(self) -> Iterator[int]:
        """Nobody else trains these seeds meanwhile; the open file holds the lock, also in processes that inherit it.

        Raises:
            UserError: somebody does.
        """
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"another process trains the seeds in {self.folder}; wait for it, or end it") from error
            yield lock.fileno()
