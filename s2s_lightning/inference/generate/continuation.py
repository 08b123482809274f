"""An output file that is written window by window, and continued by the command that began it.

Beside FILE stands FILE.run.json: how it was made, and how much of it is done. What stands in FILE beyond that was being
written when the run was stopped; it is made again.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Self

from s2s_lightning import __version__
from s2s_lightning.errors import UserError
from s2s_lightning.files import cannot_be_written, write_whole
from s2s_lightning.inference.generate.requests import Request


class ResumableFile:
    """The file, open behind what is done.

    Args:
        path: of the file.
        run: what the outputs depend on besides the input: option -> value, plain data.
        overwrite: begin anew, whatever is there.

    Attributes:
        done: requests whose answers it holds.

    Raises:
        UserError: it exists and is not of the same run, or it cannot be written.
    """

    def __init__(self, path: str, run: dict[str, Any], overwrite: bool = False) -> None:
        self.path = Path(path)
        self.record = self.path.with_name(f"{self.path.name}.run.json")
        self.run = {"s2s_lightning": __version__, **run}
        self.done, self._bytes, self._input = 0, 0, ""
        self._digest = hashlib.blake2b(digest_size=16)
        if self.path.exists() and self.path.stat().st_size > 0 and not overwrite:
            self._resume()
        try:
            self._file: BinaryIO = open(self.path, "r+b" if self.done else "wb")  # noqa: SIM115  closed by close()
            self._file.truncate(self._bytes)
            self._file.seek(self._bytes)
        except OSError as error:
            raise cannot_be_written(path, error) from error
        self._note()

    def _resume(self) -> None:
        try:
            content = json.loads(self.record.read_text(encoding="utf-8"))
            run, done = content["run"], content["done"]
            self.done, self._bytes, self._input = done["lines"], done["bytes"], done["input"]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{self.path} exists, and not from generate: --overwrite begins it anew") from None
        names = [*run, *self.run]
        other = next((name for name in names if run.get(name) != self.run.get(name)), None)
        if other is not None:
            raise UserError(
                f"{self.path} was made with another {other} ({run.get(other)}, now {self.run.get(other)}): "
                "give the same, another file, or --overwrite"
            )
        if self.path.stat().st_size < self._bytes:
            raise UserError(f"{self.path} is shorter than {self.record.name} says: --overwrite begins it anew")

    def rest(self, requests: Iterable[Request]) -> Iterator[Request]:
        """The requests that are not done.

        Raises:
            UserError: those that are done were others.
        """
        stream = iter(requests)
        for request in islice(stream, self.done):
            self._count(request)
        if self.done and self._digest.hexdigest() != self._input:
            raise UserError(
                f"{self.path} holds the answers to other lines than the first {self.done:,} of this input: "
                "give the same, another file, or --overwrite"
            )
        return stream

    def write(self, lines: bytes, requests: Iterable[Request]) -> None:
        """The answers to the next requests, on the disk when this returns."""
        try:
            self._file.write(lines)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.close()  # what it still holds would fail again
            text = f"{cannot_be_written(self.path, error)}; the same command continues it"
            raise UserError(text) from error
        self._bytes += len(lines)
        for request in requests:
            self._count(request)
            self.done += 1
        self._input = self._digest.hexdigest()
        self._note()

    def _count(self, request: Request) -> None:
        self._digest.update(json.dumps(request[:3]).encode() + b"\n")

    def _note(self) -> None:
        done = {"lines": self.done, "bytes": self._bytes, "input": self._input}
        write_whole(self.record, json.dumps({"run": self.run, "done": done}, indent=1) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
