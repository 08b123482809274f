"""Data sets of the ``datasets`` library: of the Hugging Face hub, or saved to disk."""

from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from s2s_lightning.data.cache import digest
from s2s_lightning.data.corpora.corpus import Pair, Split, as_pair
from s2s_lightning.data.corpora.rows import RowCorpus
from s2s_lightning.data.corpora.table_formats import pick
from s2s_lightning.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

USUAL_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("validation", "val", "valid", "dev"),
    "test": ("test",),
}


class DatasetCorpus(RowCorpus):
    """Two columns of a data set's splits. ``datasets`` is imported with the first row: that takes seconds."""

    def __init__(
        self,
        name: str,
        names: dict[Split, str | None],
        columns: tuple[str, str],
        *,
        hold_out: int,
        group_references: bool,
        seed: int,
    ) -> None:
        super().__init__(hold_out, group_references, seed)
        self.name = name
        self._names = names
        self._columns = columns

    @abstractmethod
    def load(self) -> "dict[str, Dataset]":
        """Return all splits by their own names."""

    @cached_property
    def _splits(self) -> "dict[Split, Dataset]":
        """The data set's splits by our names."""
        splits = self.load()
        for name in self._names.values():
            if name is not None and name not in splits:
                raise UserError(f"no split {name!r} in the data set {self.name}; it has {', '.join(splits)}")
        chosen = {ours: [name] if name else USUAL_NAMES[ours] for ours, name in self._names.items()}
        found = {ours: next((name for name in names if name in splits), None) for ours, names in chosen.items()}
        return {ours: splits[name] for ours, name in found.items() if name is not None}

    def has_rows(self, split: Split) -> bool:
        return split in self._splits

    def rows(self, split: Split) -> Iterator[Pair]:
        dataset = self._splits[split]
        tops = [column if column in dataset.column_names else column.split(".")[0] for column in self._columns]
        for top in tops:
            if top not in dataset.column_names:
                raise UserError(f"no column {top!r} in {self.name}, {split}; it has {', '.join(dataset.column_names)}")
        for number, record in enumerate(dataset.select_columns(list(dict.fromkeys(tops))), 1):
            where = f"{self.name}, {split}, row {number}"
            src, tgt = (pick(record, column, where) for column in self._columns)
            yield as_pair(src, tgt, where)

    def fingerprint(self, split: Split) -> str:
        """Return a digest of the bytes of its files, or of the fingerprint of ``datasets`` for rows in memory or
        selected there.
        """
        dataset, by_files = self._splits[self._home(split)], super().fingerprint(split)
        whole = dataset.cache_files and dataset._indices is None
        return by_files if whole else digest(by_files, dataset._fingerprint)

    def files(self, split: Split) -> list[str]:
        return [file["filename"] for file in self._splits[split].cache_files]

    def reading(self) -> list[object]:
        return list(self._columns)


class Hub(DatasetCorpus):
    """A data set of the Hugging Face hub, or anything else that ``datasets.load_dataset`` takes.

    Args:
        name: of the data set, as ``load_dataset`` takes it.
        src: source column; translation.de is de inside of translation.
        tgt: target column, as ``src``; it may hold a list of references.
        config: of the data set, where it has several.
        revision: branch, tag or commit; give one to repeat a run for certain.
        train: its training split; train by default.
        val: its validation split; validation, val, valid or dev by default, if there is one.
        test: its test split; test by default, if there is one.
        hold_out: so many different sources are taken out of train, with all their rows, and make val.
        group_references: in val and test, rows of equal source are one item with several right answers.
        seed: of what is held out, which is decided by a hash of (seed, source).
    """

    def __init__(
        self,
        name: str,
        src: str,
        tgt: str,
        *,
        config: str | None = None,
        revision: str | None = None,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        hold_out: int = 0,
        group_references: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            name,
            {"train": train, "val": val, "test": test},
            (src, tgt),
            hold_out=hold_out,
            group_references=group_references,
            seed=seed,
        )
        self._source = (name, config, revision)

    def load(self) -> "dict[str, Dataset]":
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError

        name, config, revision = self._source
        try:
            return dict(load_dataset(name, config, revision=revision))
        except (
            OSError,
            ValueError,
            DatasetsError,
        ) as error:  # not found, no network; no such configuration; broken files
            raise UserError(f"data set {name} cannot be loaded: {' '.join(str(error).split())}") from error


class Saved(DatasetCorpus):
    """A folder that ``datasets`` wrote by ``save_to_disk``; a single data set in it is the training split.

    Args:
        path: the folder.
        src: source column; translation.de is de inside of translation.
        tgt: target column, as ``src``; it may hold a list of references.
        train: its training split; train by default.
        val: its validation split; validation, val, valid or dev by default, if there is one.
        test: its test split; test by default, if there is one.
        hold_out: so many different sources are taken out of train, with all their rows, and make val.
        group_references: in val and test, rows of equal source are one item with several right answers.
        seed: of what is held out, which is decided by a hash of (seed, source).
    """

    def __init__(
        self,
        path: str,
        src: str,
        tgt: str,
        *,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        hold_out: int = 0,
        group_references: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            path,
            {"train": train, "val": val, "test": test},
            (src, tgt),
            hold_out=hold_out,
            group_references=group_references,
            seed=seed,
        )
        self._path = path

    def load(self) -> "dict[str, Dataset]":
        from datasets import DatasetDict, load_from_disk

        if not Path(self._path).is_dir():
            raise UserError(f"{self._path}: no such folder; give one that save_to_disk has written")
        try:
            saved = load_from_disk(self._path)
        except (OSError, ValueError) as error:  # no such files; cut ones
            rule = " ".join(str(error).split())
            raise UserError(f"{self._path}: not a whole folder that save_to_disk has written ({rule})") from error
        return dict(saved) if isinstance(saved, DatasetDict) else {"train": saved}
