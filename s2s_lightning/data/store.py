"""A prepared split: ids (and, for evaluation, texts) in one Arrow file that is memory-mapped, never loaded.

The file holds one record batch, so that each column is a pair of flat arrays. It is written as a stream: ids go to
unnamed raw files first, which are mapped and handed to Arrow as they are, so that memory does not grow with the corpus.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from s2s_lightning import UNK
from s2s_lightning.data.cache import chunks
from s2s_lightning.data.copier import Copier
from s2s_lightning.data.corpora import Pair
from s2s_lightning.data.ragged import IntArray, Ragged
from s2s_lightning.data.round_trip import counted, unequal
from s2s_lightning.data.vocabularies import Tokenizers

CHUNK = 4096
"""Pairs that are encoded at once."""

BROKEN = "texts with a line end inside"
"""The remark on texts that are kept as they are; a quote that is closed rows later makes such a one."""


class SplitInfo(NamedTuple):
    """Counts of a split, EOS not counted.

    Attributes:
        pairs: rows of the file; in evaluation, items with one or more references.
        src_tokens: ids of the source side.
        tgt_tokens: ids of the target side; in evaluation, of the first reference.
        src_unknown: how many source ids are UNK.
        tgt_unknown: how many target tokens the vocabulary has not.
        copyable: how many of these stand in their source, where that was looked for.
        remarks: what was skipped, merged or is uncommon in its texts, counted by reason.
    """

    pairs: int
    src_tokens: int
    tgt_tokens: int
    src_unknown: int
    tgt_unknown: int
    copyable: int
    remarks: dict[str, int]


class Store:
    """An open split. It pickles as its path, so that each worker maps the file itself.

    Attributes:
        src: source ids, without EOS.
        tgt: target ids, without BOS and EOS.
        copy: what copying each source token emits, as in ``Batch.src_copy``; None where it was not prepared.
        info: its counts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        file = pa.ipc.open_file(pa.memory_map(str(path)))
        self._columns = file.get_batch(0)
        self.src = _ragged(self._columns["src"])
        self.tgt = _ragged(self._columns["tgt"])
        self.copy = _ragged(self._columns["copy"]) if "copy" in file.schema.names else None
        self.info = SplitInfo(**json.loads(file.schema.metadata[b"info"]))

    @classmethod
    def checked(cls, path: Path) -> "Store":
        """Open a split, and raise ValueError where its rows are not what its counts say."""
        store = cls(path)
        store._columns.validate(full=True)
        if len(store._columns) != store.info.pairs:
            raise ValueError(f"{len(store._columns)} rows, where {store.info.pairs} are named")
        return store

    def __reduce__(self) -> tuple[type["Store"], tuple[Path]]:
        return Store, (self.path,)

    def sources(self, indices: Sequence[int]) -> list[str]:
        """The texts of items of an evaluation split."""
        texts: list[str] = self._take("source", indices)
        return texts

    def references(self, indices: Sequence[int]) -> list[tuple[str, ...]]:
        """The right answers of items of an evaluation split."""
        return [tuple(texts) for texts in self._take("references", indices)]

    def unequal(self, indices: Sequence[int] | None = None) -> dict[str, int]:
        """Count the items (all of them) of an evaluation split that no output can equal, by reason."""
        reasons = self._columns["unequal"].to_numpy()
        return counted(reasons if indices is None else reasons[np.asarray(indices, np.int64)])

    def _take(self, column: str, indices: Sequence[int]) -> list[Any]:
        values: list[Any] = self._columns[column].take(pa.array(indices, pa.int64())).to_pylist()
        return values


KnownLengths = tuple[list[int], list[int], int]
"""The result of ``longest_by_source``."""


def longest_by_source(src: IntArray, tgt: IntArray) -> KnownLengths:
    """Return where the longest target of sources of up to a length grows, the longest target there, the longest source.

    Args:
        src: (N,), the length of each source.
        tgt: (N,), that of its target.
    """
    order = np.argsort(src, kind="stable")
    longest = np.maximum.accumulate(tgt[order])
    last = np.append(np.diff(src[order]) > 0, True)  # the last pair of each length has seen all of it
    lengths, targets = src[order][last], longest[last]
    grows = np.diff(targets, prepend=0) > 0
    return lengths[grows].tolist(), targets[grows].tolist(), int(src.max())


Remarks = Callable[[], Mapping[str, int]]
"""The counts of a corpus, asked for when all of its pairs have been read."""


def write_training(
    pairs: Iterable[Pair],
    tokenizers: Tokenizers,
    copier: Copier | None,
    remarks: Remarks,
    path: Path,
    *,
    sample: bool = False,
) -> None:
    """Write a pair for each reference, without texts; ``sample``: in pieces drawn at random."""
    rows = ((pair.src, reference) for pair in pairs for reference in pair.refs)
    _write(rows, tokenizers, copier, {}, remarks, path, sample=sample)


def write_evaluation(
    pairs: Iterable[Pair], tokenizers: Tokenizers, copier: Copier | None, remarks: Remarks, path: Path
) -> None:
    """Write the ids of each first reference and all texts, which are held in memory until written."""
    items = list(pairs)
    reasons = [unequal(chunk, tokenizers, copier) for chunk in chunks(items, CHUNK)]
    further = {
        "source": pa.array([item.src for item in items], pa.large_string()),
        "references": pa.array([item.refs for item in items], pa.large_list(pa.large_string())),
        "unequal": pa.array(np.concatenate([np.empty(0, np.uint8), *reasons])),
    }
    _write(((item.src, item.refs[0]) for item in items), tokenizers, copier, further, remarks, path)


def _write(
    pairs: Iterable[tuple[str, str]],
    tokenizers: Tokenizers,
    copier: Copier | None,
    further: dict[str, pa.Array],
    remarks: Remarks,
    path: Path,
    *,
    sample: bool = False,
) -> None:
    encode_source, encode_target = (t.sample if sample else t.encode for t in (tokenizers.src, tokenizers.target))
    with ExitStack() as stack:
        files = [stack.enter_context(TemporaryFile(dir=path.parent)) for _ in range(6)]
        src = _Side(tokenizers.src.vocab_size, *files[:2])
        size, wide = tokenizers.target.vocab_size, copier is not None
        tgt, copy = _Side(size, *files[2:4], wide=wide), _Side(size, *files[4:], wide=wide)
        broken = 0
        for chunk in chunks(pairs, CHUNK):
            sources, targets = zip(*chunk, strict=True)
            broken += sum("\n" in text or "\r" in text for text in (*sources, *targets))
            src.write(encode_source(sources))
            if copier is None:
                tgt.write(encode_target(targets))
            else:
                tgt.write(copier.encode_targets(targets, sources))
                copy.write(copier.encode_sources(sources))
        columns = {"src": src.array(), "tgt": tgt.array(), **({"copy": copy.array()} if copier else {}), **further}
        unknown = src.unknown, tgt.unknown + tgt.copyable
        found = {**remarks(), BROKEN: broken}
        counts = {reason: count for reason, count in found.items() if count}
        info = SplitInfo(src.rows, src.tokens, tgt.tokens, *unknown, tgt.copyable, counts)
        batch = pa.record_batch(columns).replace_schema_metadata({"info": json.dumps(info._asdict())})
        with pa.ipc.new_file(str(path), batch.schema) as writer:
            writer.write_batch(batch)


class _Side:
    """A column of ids on its way to disk; ``wide`` if places in the source are among them."""

    def __init__(self, vocab_size: int, values: IO[bytes], offsets: IO[bytes], *, wide: bool = False) -> None:
        self.vocab_size = vocab_size
        self.dtype = np.dtype(np.uint16 if vocab_size <= 2**16 and not wide else np.uint32)
        self.rows = self.tokens = self.unknown = self.copyable = 0
        self._values = values
        self._offsets = offsets
        self._offsets.write(np.zeros(1, np.int64).tobytes())

    def write(self, rows: Sequence[Sequence[int]]) -> None:
        part = Ragged.from_lists(rows, self.dtype)
        self._values.write(part.values.tobytes())
        self._offsets.write((part.offsets[1:] + self.tokens).tobytes())
        self.rows += len(rows)
        self.tokens += len(part.values)
        self.unknown += int(np.count_nonzero(part.values == UNK))
        self.copyable += int(np.count_nonzero(part.values >= self.vocab_size))

    def array(self) -> pa.LargeListArray:
        values, offsets = _mapped(self._values, self.dtype), _mapped(self._offsets, np.dtype(np.int64))
        return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))


def _mapped(file: IO[bytes], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    file.flush()
    return np.memmap(file, dtype, "r") if file.tell() else np.empty(0, dtype)


def _ragged(column: pa.LargeListArray) -> Ragged:
    return Ragged(column.values.to_numpy(), column.offsets.to_numpy())
