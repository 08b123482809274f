"""Parallel text files: line i of one side answers line i of the other; or one side alone, for a language model."""

from collections.abc import Iterator
from itertools import zip_longest

from s2s_lightning.data.corpora.corpus import Pair, Split
from s2s_lightning.data.corpora.rows import RowCorpus
from s2s_lightning.errors import UserError
from s2s_lightning.files import check_file, read_lines


class TextFiles(RowCorpus):
    """Parallel UTF-8 text, a sentence a line; .gz, .xz and .zst are read as they are.

    With target sides alone it is a corpus for a language model: each source is empty.

    Args:
        train_src: source side of train.
        train_tgt: target side of train.
        val_src: source side of val.
        val_tgt: target side of val; a list of files gives several references.
        test_src: source side of test.
        test_tgt: target side of test; a list of files gives several references.
        hold_out: so many different sources are taken out of train, with all their lines, and make val; without a
            source, so many different texts.
        group_references: in val and test, lines of equal source are one item with several right answers.
        seed: of what is held out, which is decided by a hash of (seed, source).

    Raises:
        UserError: a source side is given without its target side, or to some splits alone; texts without a source are
            to be grouped by it.
    """

    def __init__(
        self,
        train_src: str | None = None,
        train_tgt: str | None = None,
        val_src: str | None = None,
        val_tgt: str | list[str] | None = None,
        test_src: str | None = None,
        test_tgt: str | list[str] | None = None,
        *,
        hold_out: int = 0,
        group_references: bool = False,
        seed: int = 0,
    ) -> None:
        sides = {"train": (train_src, train_tgt), "val": (val_src, val_tgt), "test": (test_src, test_tgt)}
        self._files = {split: _both(split, src, tgt) for split, (src, tgt) in sides.items()}
        super().__init__(hold_out, group_references, seed, _have_sources(sides))

    def has_rows(self, split: Split) -> bool:
        return bool(self._files[split])

    def rows(self, split: Split) -> Iterator[Pair]:
        files = self.files(split)
        for lines in zip_longest(*map(read_lines, files)):
            if None in lines:
                raise UserError(_counts(files))
            src, *refs = lines if self.has_source else ("", *lines)
            yield Pair(src, tuple(refs))

    def files(self, split: Split) -> list[str]:
        return [check_file(path) for path in self._files[split]]

    def reading(self) -> list[object]:
        return [self.has_source]


def _have_sources(sides: dict[str, tuple[str | None, str | list[str] | None]]) -> bool:
    """True if the splits have a source side; all of them have one, or none."""
    without = [split for split, (src, tgt) in sides.items() if tgt is not None and src is None]
    with_source = [split for split, (src, _) in sides.items() if src is not None]
    if without and with_source:
        raise UserError(
            f"{with_source[0]}_src is given and {without[0]}_src is not: give a source side to each split, or to none "
            "for a language model"
        )
    return not without


def _both(split: str, src: str | None, tgt: str | list[str] | None) -> list[str]:
    """Source file, if there is one, and reference files; or nothing."""
    if tgt is None:
        if src is not None:
            raise UserError(f"{split}_src={src} needs {split}_tgt: what the model is to write is missing")
        return []
    return [*([src] if src else []), *([tgt] if isinstance(tgt, str) else tgt)]


def _counts(files: list[str]) -> str:
    counts = " and ".join(f"{path} has {sum(1 for _ in read_lines(path)):,} lines" for path in files)
    return f"{counts}: line i of one answers line i of the other, so the counts must be equal"
