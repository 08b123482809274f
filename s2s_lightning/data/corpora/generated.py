"""Toy tasks with unlimited data, on which an architecture shows what it can do."""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Literal

from s2s_lightning.data.cache import digest
from s2s_lightning.data.corpora.corpus import Corpus, Pair, Split, rank
from s2s_lightning.data.tokenizers import Pretokenized, Tokenizer
from s2s_lightning.errors import UserError, check_at_least

Task = Literal["copy", "reverse", "sort", "addition"]

PARTS = 10
"""Sources fall into so many parts by a hash: one is val's, one is test's, the others are train's."""

PATIENCE = 1000
"""Draws for each wanted pair before a split is said to be impossible."""


class Generated(Corpus):
    """Sequences of numbers to copy, reverse or sort; or two numbers to add, digit by digit.

    Tokens have spaces between them. No source is in two splits; within one it may repeat.

    Args:
        task: what is to be done with the source.
        min_length: tokens of the shortest source; for addition, digits of a summand.
        max_length: tokens of the longest source; for addition, digits of a summand.
        symbols: different tokens, 0 to symbols - 1; addition has ten digits.
        train_pairs: size of train.
        val_pairs: size of val.
        test_pairs: size of test.
        seed: of what is drawn.

    Raises:
        UserError: lengths that are not 1 <= min_length <= max_length, no symbols, or a negative size.
    """

    def __init__(
        self,
        task: Task = "copy",
        *,
        min_length: int = 1,
        max_length: int = 10,
        symbols: int = 20,
        train_pairs: int = 10000,
        val_pairs: int = 500,
        test_pairs: int = 500,
        seed: int = 0,
    ) -> None:
        if not 1 <= min_length <= max_length:
            raise UserError(
                f"min_length={min_length}, max_length={max_length}: 1 <= min_length <= max_length must hold"
            )
        check_at_least(1, symbols=symbols)
        check_at_least(0, train_pairs=train_pairs, val_pairs=val_pairs, test_pairs=test_pairs)
        self.task = task
        self.min_length = min_length
        self.max_length = max_length
        self.symbols = symbols
        self.train_pairs = train_pairs
        self.val_pairs = val_pairs
        self.test_pairs = test_pairs
        self.seed = seed

    def has(self, split: Split) -> bool:
        return self._size(split) > 0

    def read(self, split: Split) -> Iterator[Pair]:
        rng = Random(f"{self.seed} {split}")
        for number in range(self._size(split)):
            tries = (self._draw(rng) for _ in range(PATIENCE))
            pair = next((pair for pair in tries if self._split_of(pair) == split), None)
            if pair is None:
                raise UserError(f"{split} pair {number + 1}: too few different sources; raise max_length or symbols")
            yield pair

    def fingerprint(self, split: Split) -> str:
        return digest("Generated", split, json.dumps(vars(self)))

    def tokenizers(self) -> tuple[Tokenizer, Tokenizer | None]:
        return Pretokenized(), None

    def _size(self, split: Split) -> int:
        return {"train": self.train_pairs, "val": self.val_pairs, "test": self.test_pairs}[split]

    def _split_of(self, pair: Pair) -> Split:
        part: dict[int, Split] = {0: "val", 1: "test"}
        return part.get(rank(self.seed, pair.src) % PARTS, "train")

    def _draw(self, rng: Random) -> Pair:
        if self.task == "addition":
            left, right = self._summand(rng), self._summand(rng)
            return Pair(" ".join(f"{left}+{right}"), (" ".join(str(left + right)),))
        source = [rng.randrange(self.symbols) for _ in range(rng.randint(self.min_length, self.max_length))]
        return Pair(" ".join(map(str, source)), (" ".join(map(str, ANSWERS[self.task](source))),))

    def _summand(self, rng: Random) -> int:
        digits = rng.randint(self.min_length, self.max_length)
        return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


ANSWERS: dict[str, Callable[[list[int]], list[int]]] = {
    "copy": list,
    "reverse": lambda source: source[::-1],
    "sort": sorted,
}
