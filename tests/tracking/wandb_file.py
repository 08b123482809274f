"""What an offline run of W&B has written, from the file itself.

A ``.wandb`` file is a log in LevelDB's format: blocks of 32 KiB with chunks in them, each after its CRC-32, length and
kind; a record is one whole chunk or several. The records are W&B's protocol buffers.
"""

import json
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wandb.proto import wandb_internal_pb2

BLOCK = 32768
MAGIC = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
CHUNK = struct.Struct("<LHB")
WHOLE, FIRST, LAST = 1, 2, 4


class Recorded(NamedTuple):
    """An offline run: nested configuration and rows, files beside it, and the exit code, None while it is open."""

    folder: Path
    run: Any
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    files: list[str]
    console: str
    exit_code: int | None

    def rows(self, key: str) -> list[dict[str, Any]]:
        """Those of the history that have the key."""
        return [row for row in self.history if key in row]

    def file(self, name: str) -> Path:
        """One of ``files``."""
        return self.folder / "files" / name


def recorded(folder: Path, seconds: float = 20) -> Recorded:
    """The one run below a folder, which has been ended: W&B writes its last records some time after that."""
    (path,) = folder.glob("**/wandb/offline-run-*/*.wandb")
    end = time.monotonic() + seconds
    while (run := read(path)).exit_code is None:
        assert time.monotonic() < end, f"{path} has no end"
        time.sleep(0.05)
    return run


def read(path: Path) -> Recorded:
    run, exit_code, console = None, None, []
    config, summary, history, files = {}, {}, [], []  # type: ignore[var-annotated]
    for record in records(path.read_bytes()):
        kind = record.WhichOneof("record_type")
        content = getattr(record, kind)
        if kind == "run":
            run = content
            _update(config, content.config.update)
        elif kind == "config":
            _update(config, content.update)
        elif kind == "history":
            history.append(_update({}, content.item))
        elif kind == "summary":
            _update(summary, content.update)
        elif kind == "files":
            files += [file.path for file in content.files]
        elif kind == "output_raw":
            console.append(content.line)
        elif kind == "exit":
            exit_code = content.exit_code
    return Recorded(path.parent, run, config, history, summary, files, "".join(console), exit_code)


def records(data: bytes) -> Iterator[Any]:
    """Each record, up to the first that was cut off."""
    assert data[: len(MAGIC)] in (MAGIC, b""), data[: len(MAGIC)]
    content = b""
    for kind, chunk in _chunks(data):
        content = chunk if kind in (WHOLE, FIRST) else content + chunk
        if kind in (WHOLE, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            yield record


def _chunks(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = len(MAGIC)
    while place + CHUNK.size <= len(data):
        left = BLOCK - place % BLOCK
        if left < CHUNK.size:  # zeros up to the end of the block
            place += left
            continue
        checksum, length, kind = CHUNK.unpack_from(data, place)
        place += CHUNK.size
        chunk = data[place : place + length]
        if len(chunk) < length or not kind:
            return
        assert zlib.crc32(data[place - 1 : place + length]) == checksum, f"a torn chunk at byte {place}"
        yield kind, chunk
        place += length


def _update(target: dict[str, Any], items: Iterable[Any]) -> dict[str, Any]:
    """Set each item, which has one key or the path of a nested one."""
    for item in items:
        *path, last = [item.key] if item.key else list(item.nested_key)
        inner = target
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = json.loads(item.value_json)
    return target
