"""Seq2SeqData: from a corpus to batches, and from ids back to text."""

import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch.cuda import is_available
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler, SequentialSampler, Subset

from s2s_lightning import UNK
from s2s_lightning.cluster.signals import turn_deaf
from s2s_lightning.data.bucket_sampler import (
    BatchIndex,
    BucketSampler,
    Budget,
    EpochwiseSampler,
    EvaluationSampler,
    Lengths,
    Normaliser,
)
from s2s_lightning.data.cache import FORMAT, cache_root, cached, digest
from s2s_lightning.data.copier import Copier, IdRows
from s2s_lightning.data.corpora import SPLITS, CMUDict, Corpus, Split, pairs
from s2s_lightning.data.dataset import Copies, EpochwiseDataset, PairDataset
from s2s_lightning.data.position import Position, accumulated, accumulation, position_of
from s2s_lightning.data.progress_bar import progress
from s2s_lightning.data.ragged import IntArray, Ragged
from s2s_lightning.data.round_trip import listed
from s2s_lightning.data.store import KnownLengths, Store, longest_by_source, write_evaluation, write_training
from s2s_lightning.data.tokenizers import CheckpointFile, Tokenizer
from s2s_lightning.data.tokenizers.given import frozen_tokenizers, opened
from s2s_lightning.data.vocabularies import Tokenizers
from s2s_lightning.errors import UserError, check_at_least, check_at_most
from s2s_lightning.model import Batch

STAGES: dict[str, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("test",),
}
"""The splits of each stage of Lightning's; it cannot do without the first."""


class InOrder(SequentialSampler, DistributedSampler[Any]):
    """The items as they come, which Lightning neither shuffles nor deals out to the ranks once more."""

    def set_epoch(self, epoch: int) -> None:
        """Nothing depends on the epoch here."""


class Seq2SeqData(LightningDataModule):
    """A corpus, tokenized once, cached by its content, and batched by length.

    Args:
        corpus: where the pairs come from; the CMU Pronouncing Dictionary by default.
        tokenizer: of the source, and of both sides when ``tgt_tokenizer`` is not given; by default the corpus says. The
            name of a checkpoint, which ends in .ckpt, stands for its tokenizers, as ``tokenizers_from`` does; for the
            target's alone where the corpus has no source, so that a language model can help that checkpoint's search.
            The folder of a run, written with a slash (``runs/first``, ``./first``), stands for its best checkpoint.
        tgt_tokenizer: of the target, when it is to have a vocabulary of its own; a checkpoint stands for its target's.
        max_tokens: tokens of a batch: sentences times the longest of either side, padding included.
        batch_size: sentences of a batch; when given, it replaces ``max_tokens``, which may be null then.
        normaliser: the divisor of the loss of an effective batch: "tokens", its own target tokens, or "constant", their
            mean over the epoch. With ``batch_size`` and buckets "tokens" weighs a token of a long target less than one
            of a short target. null: constant with ``batch_size``, tokens with ``max_tokens``.
        bucketing: put pairs of similar length together; false takes them as they come from the shuffle, with more
            padding.
        eval_max_tokens: tokens of a batch in validation, test and generation; by default it is as in training.
        max_length: training pairs with more tokens on either side are dropped, and counted in the summary; null keeps
            all. Evaluation never drops a sentence.
        reverse_source: read each source from its end, EOS still last (Sutskever et al., 2014, arXiv:1409.3215);
            null: as the checkpoint of ``tokenizers_from`` did, else false. Pictures of attention show sources as read.
        seed: of the order of the training pairs; null: that of ``seed_everything``, else 1.
        num_workers: processes that gather batches ahead; 0 gathers them in the training process.
        copy: prepare words that the target vocabulary has not to be copied from the source, by a model that does so: a
            target word that stands in its source is its place there instead of UNK. It needs tokenizers of symbols:
            Word, Pretokenized or Characters.
        cache_dir: folder of prepared data; $S2S_LIGHTNING_CACHE or else ~/.cache/s2s_lightning by default.
        tokenizers_from: checkpoint whose tokenizers are used instead of training any.

    Raises:
        UserError: ``tokenizers_from`` together with a tokenizer, a size below 1, or workers below 0; later, ``copy``
            with a tokenizer that has no symbols.
    """

    def __init__(
        self,
        corpus: Corpus | None = None,
        tokenizer: CheckpointFile | Tokenizer | None = None,
        tgt_tokenizer: CheckpointFile | Tokenizer | None = None,
        *,
        max_tokens: int | None = 4096,
        batch_size: int | None = None,
        normaliser: Normaliser | None = None,
        bucketing: bool = True,
        eval_max_tokens: int | None = None,
        max_length: int | None = None,
        reverse_source: bool | None = None,
        seed: int | None = None,
        num_workers: int = 0,
        copy: bool = False,
        cache_dir: str | None = None,
        tokenizers_from: str | None = None,
    ) -> None:
        super().__init__()
        check_at_least(
            1, max_tokens=max_tokens, batch_size=batch_size, eval_max_tokens=eval_max_tokens, max_length=max_length
        )
        check_at_most(2**31 - 1, max_tokens=max_tokens, batch_size=batch_size, eval_max_tokens=eval_max_tokens)
        check_at_least(0, num_workers=num_workers, seed=seed)
        if normaliser not in (None, *get_args(Normaliser)):
            raise UserError(f"normaliser={normaliser!r} is none of {', '.join(get_args(Normaliser))}, null: give one")
        if max_tokens is None and batch_size is None:
            raise UserError("max_tokens=null needs batch_size, or a batch has no size: give one of them")
        if tokenizers_from and (tokenizer or tgt_tokenizer):
            raise UserError(
                f"tokenizers_from={tokenizers_from} and a tokenizer exclude each other; "
                "for one side of a checkpoint give the tokenizer FromCheckpoint"
            )
        self.corpus = CMUDict() if corpus is None else corpus
        tokens = max_tokens or 4096  # without effect beside a batch_size
        self.budget = Budget(tokens, batch_size)
        self.eval_budget = Budget(eval_max_tokens or tokens, None if eval_max_tokens else batch_size)
        self.normaliser: Normaliser = normaliser or ("constant" if batch_size else "tokens")
        self.bucketing = bucketing
        self.max_length = max_length
        self.reverse_source = reverse_source
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 1)) if seed is None else seed  # Lightning's variable
        self.num_workers = num_workers
        self.copy = copy
        self.tokenizers_from = tokenizers_from
        self._requested = (tokenizer, tgt_tokenizer)
        self._root = cache_root(cache_dir)
        self._tokenizers: Tokenizers | None = None
        self._stores: dict[Split, Store] = {}
        self._fingerprints: dict[Split, str] = {}
        self._start = Position()
        self.training_lengths: KnownLengths | None = None
        self._of_a_checkpoint = False
        self._sampler: BucketSampler | None = None

    # Preparing

    def prepare(self) -> None:
        """Train the tokenizers and write the ids of all splits, where the cache has them not: safe in any process."""
        self._prepare(SPLITS)

    def prepare_data(self) -> None:
        """Prepare the splits of the stage that the trainer runs, or all of them without a trainer."""
        running = None if self.trainer is None else self.trainer.state.fn
        self._prepare(SPLITS if running is None else STAGES[running.value])

    def _prepare(self, splits: Sequence[Split]) -> None:
        for split in filter(self.corpus.has, splits):
            self.store(split)

    def setup(self, stage: str | None = None) -> None:
        """Open the split that a stage needs first; without a stage, all splits that the corpus has.

        Raises:
            UserError: an unknown stage, or a corpus without the split.
        """
        if stage == "fit":
            self._start = Position()  # a checkpoint that the fit resumes from is read later
        if stage is None:
            self.prepare()
        elif stage in STAGES:
            self.store(STAGES[stage][0])
        else:
            raise UserError(f"setup({stage!r}): the stage must be one of {', '.join(STAGES)}, or None for all splits")

    @property
    def tokenizers(self) -> Tokenizers:
        """Source and target tokenizer, trained when first asked for."""
        if self._tokenizers is None:
            self._tokenizers = self._first_tokenizers()
            if self.reverse_source is not None:
                self._tokenizers = self._tokenizers._replace(reverse_source=self.reverse_source)
        return self._tokenizers

    def _first_tokenizers(self) -> Tokenizers:
        if self.tokenizers_from is not None:
            return Tokenizers.from_state(frozen_tokenizers(self.tokenizers_from))
        src, tgt = self._requested
        has_source = self.corpus.has_source
        if isinstance(src, str) and tgt is None and has_source:
            return Tokenizers.from_state(frozen_tokenizers(src))
        src, tgt = opened(src, "src" if has_source else "tgt"), opened(tgt, "tgt")
        if src is None:
            natural_src, natural_tgt = self.corpus.tokenizers()
            src, tgt = natural_src, natural_tgt if tgt is None else tgt
        chosen = Tokenizers(src, tgt, bool(self.reverse_source))
        self._copier_of(chosen)  # refused before it is trained
        for split in filter(self.corpus.has, SPLITS):
            self._fingerprint(split)  # a missing file is named before anything is trained
        return chosen.trained(self.corpus, self._root)

    def store(self, split: Split) -> Store:
        """The prepared split, made now if need be.

        Raises:
            UserError: the corpus has no such split, or nothing in it.
        """
        if split not in self._stores:
            self._stores[split] = self._open(split)
        return self._stores[split]

    def _open(self, split: Split) -> Store:
        name = type(self.corpus).__name__
        if not self.corpus.has(split):
            raise UserError(f"{name} has no {split} split, and this needs it; give one by --data.corpus")
        store = cached(self._root, f"ids/{self._key(split)}.arrow", partial(self._write, split), Store.checked)
        if store.info.pairs == 0:
            raise UserError(f"the {split} split of {name} is empty; it must have one pair at least")
        return store

    def _key(self, split: Split, *further: str) -> str:
        """Return the cache key of the ids of a split."""
        stored = self.tokenizers._replace(reverse_source=False)  # ids are turned round when they are gathered
        copying = ["copy"] if self.copy else []
        return digest(FORMAT, split, self._fingerprint(split), repr(stored.state()), *copying, *further)

    def _fingerprint(self, split: Split) -> str:
        """Asked of the corpus once, which may have to read all of it."""
        if split not in self._fingerprints:
            self._fingerprints[split] = self.corpus.fingerprint(split)
        return self._fingerprints[split]

    def _write(self, split: Split, path: Path, *, sample: bool = False) -> None:
        read = progress(pairs(self.corpus, split), f"Preparing {split}", "pairs")
        write = partial(write_training, sample=sample) if split == "train" else write_evaluation
        write(read, self.tokenizers, self._copier(), partial(self.corpus.remarks, split), path)

    def _copier(self) -> Copier | None:
        return self._copier_of(self.tokenizers)

    def _copier_of(self, tokenizers: Tokenizers) -> Copier | None:
        if not self.copy:
            return None
        if tokenizers.reverse_source:
            raise UserError(
                "copy=true keeps places in the source, which reverse_source=true turns round: set one of them to false"
            )
        copier = Copier.of(tokenizers)
        if copier is None:
            both = (tokenizers.src, tokenizers.target)
            names = " and ".join({type(x).__name__ for x in both if x.symbols() is None})
            raise UserError(
                f"copy=true needs tokenizers whose ids are words or characters, but {names} cuts pieces: "
                "take Word, Pretokenized or Characters, or set copy to false"
            )
        return copier

    def has(self, split: Split) -> bool:
        """True if the corpus has the split."""
        return self.corpus.has(split)

    def take_lengths(self, lengths: KnownLengths | None) -> None:
        """Keep the lengths with which a checkpoint was trained, None of one that has none, whatever the corpus is."""
        self.training_lengths = lengths
        self._of_a_checkpoint = True

    def lengths(self) -> KnownLengths | None:
        """Return the longest targets of training by the length of their sources, as ``decoding.base.Lengths`` has them.

        They are those of the checkpoint, or else of the training split that this run prepares; None without either.
        """
        if self.training_lengths is None and not self._of_a_checkpoint and self.corpus.has("train"):
            store = self.store("train")
            self.training_lengths = longest_by_source(store.src.lengths() + 1, store.tgt.lengths() + 1)
        return self.training_lengths

    # What the network needs to know

    @property
    def src_vocab_size(self) -> int:
        """Ids of the source side."""
        return self.tokenizers.src.vocab_size

    @property
    def tgt_vocab_size(self) -> int | None:
        """Ids of the target side; None when one vocabulary serves both."""
        tgt = self.tokenizers.tgt
        return None if tgt is None else tgt.vocab_size

    # Batches

    def train_dataloader(self) -> DataLoader[Batch]:
        dataset = self._dataset("train") if self._epochs is None else self._epochs
        self._sampler = self._train_sampler()
        return self._loader(dataset, self._sampler)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        return self._evaluation_loader("val") if self.corpus.has("val") else []

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[Batch]:
        return self._evaluation_loader("test")

    def _dataset(self, split: Split) -> PairDataset:
        store = self.store(split)
        return PairDataset(store.src, store.tgt, self._copies(store.copy), self.tokenizers.reverse_source)

    def _copies(self, rows: Ragged | None) -> Copies | None:
        return None if rows is None else Copies(rows, self.tokenizers.target.vocab_size)

    def _evaluation_loader(self, split: Split) -> DataLoader[Batch]:
        dataset = self._dataset(split)
        rank, world_size = self._place()
        sampler = EvaluationSampler(dataset.lengths(), self.eval_budget, rank=rank, world_size=world_size)
        return self._loader(dataset, sampler)

    def _train_sampler(self) -> BucketSampler:
        rank, world_size = self._place()
        trainer = self.trainer
        options: dict[str, Any] = {
            "seed": self.seed,
            "rank": rank,
            "world_size": world_size,
            "accumulate": 1 if trainer is None else accumulation(trainer),
            "limit": 1.0 if trainer is None else trainer.limit_train_batches or 1.0,
            "start": self._start,
            "normaliser": self.normaliser,
            "bucketing": self.bucketing,
        }
        if self._epochs is not None:
            return EpochwiseSampler(self._read_epoch, self.budget, **options)
        lengths = self._dataset("train").lengths()
        return BucketSampler(lengths, self._kept(lengths), self.budget, **options)

    @cached_property
    def _epochs(self) -> EpochwiseDataset | None:
        """The training pairs epoch by epoch, where a tokenizer draws other pieces in each."""
        tokenizers = (self.tokenizers.src, self.tokenizers.target)
        if not any(tokenizer.samples for tokenizer in tokenizers):
            return None
        path = self._root / "ids" / self._key("train", f"seed {self.seed}")
        return EpochwiseDataset(path, self.tokenizers.reverse_source)

    def _read_epoch(self, epoch: int) -> tuple[Lengths, IntArray]:
        """Written by whoever comes first and kept: the tokenizer draws without a seed, so never the same again."""
        assert self._epochs is not None
        name = f"ids/{self._epochs.path(epoch).name}"
        cached(self._root, name, partial(self._write, "train", sample=True), Store.checked)
        lengths = self._epochs.epoch(epoch).lengths()
        return lengths, self._kept(lengths)

    def _place(self) -> tuple[int, int]:
        """Rank and number of the processes that share the data."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _kept(self, lengths: Lengths) -> IntArray:
        """The training pairs that are short enough."""
        rows: IntArray = np.arange(len(lengths.src), dtype=np.int32)
        if self.max_length is None:
            return rows
        kept = rows[lengths.longest(rows) <= self.max_length + 1]  # lengths count EOS
        if not len(kept):
            raise UserError(f"max_length={self.max_length} drops all {len(rows):,} training pairs; raise it")
        return kept

    def _loader(self, dataset: Dataset[Batch], sampler: Sampler[BatchIndex]) -> DataLoader[Batch]:
        options: dict[str, Any] = {
            "batch_size": None,
            "num_workers": self.num_workers,
            "worker_init_fn": turn_deaf if self.num_workers else None,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": is_available(),
        }
        if self.trainer is not None and self.trainer.overfit_batches:  # type: ignore[attr-defined]
            if callable(accumulation(self.trainer)):
                raise UserError(
                    "trainer.overfit_batches reads the same batches in each epoch, and GradientAccumulationScheduler "
                    "changes what they are divided by: use one of them"
                )
            # Lightning replaces any sampler but a sequential one here: give it the batches as a list
            batches: Any = Subset(dataset, list(sampler))  # type: ignore[arg-type]
            return DataLoader(batches, sampler=InOrder(batches), **options)
        return DataLoader(dataset, sampler=sampler, **options)

    # Text

    def sources(self, split: Split, indices: Sequence[int]) -> list[str]:
        """The source texts of items of an evaluation split."""
        return self.store(split).sources(indices)

    def references(self, split: Split, indices: Sequence[int]) -> list[tuple[str, ...]]:
        """The right answers of items of an evaluation split."""
        return self.store(split).references(indices)

    def unequal(self, split: Split, indices: Sequence[int]) -> dict[str, int]:
        """Count the items of an evaluation split none of whose references any output can equal, by reason."""
        return self.store(split).unequal(indices)

    def decode(self, ids: Sequence[Sequence[int]], sources: Sequence[str] | None = None) -> list[str]:
        """The text of each row of target ids.

        Args:
            ids: from the size of the vocabulary on they are places in the source.
            sources: the text of each row's source; without it, and with tokenizers that have no symbols, a place is
                UNK.
        """
        target, size = self.tokenizers.target, self.tokenizers.target.vocab_size
        if all(i < size for row in ids for i in row):
            return target.decode(ids)
        copier = Copier.of(self.tokenizers)
        if copier is None or sources is None:
            return target.decode([[i if i < size else UNK for i in row] for row in ids])
        return copier.decode(ids, sources)

    def src_tokens(self, ids: Sequence[int]) -> list[str]:
        """Each source id as a printable piece."""
        return self.tokenizers.src.tokens(ids)

    def tgt_tokens(self, ids: Sequence[int], source: str) -> list[str]:
        """Each target id as a printable piece, or as the word of the source that it is the place of."""
        size = self.tokenizers.target.vocab_size
        pieces = self.tokenizers.target.tokens([i if i < size else UNK for i in ids])
        return [piece if i < size else self.decode([[i]], [source])[0] for i, piece in zip(ids, pieces, strict=True)]

    def encode_sources(self, texts: Sequence[str]) -> Iterator[Batch]:
        """Batches of raw text for generation, longest first: ``rows`` are places in ``texts``, targets are empty."""
        yield from self.encode_forced(texts, [[]] * len(texts))

    def encode_pairs(self, sources: Sequence[str], targets: Sequence[str]) -> Iterator[Batch]:
        """Batches of raw text with its targets, longest first: ``rows`` are places in ``sources``."""
        yield from self.encode_forced(sources, self.encode_targets(targets, sources))

    def encode_forced(self, sources: Sequence[str], ids: IdRows) -> Iterator[Batch]:
        """Batches of raw text with target ids, longest first: ``rows`` are places in ``sources``."""
        if not sources:
            return
        copier = self._copier()
        src = Ragged.from_lists(self.tokenizers.src.encode(sources))
        copies = copier and self._copies(Ragged.from_lists(copier.encode_sources(sources)))
        dataset = PairDataset(src, Ragged.from_lists(ids), copies, self.tokenizers.reverse_source)
        yield from map(dataset.__getitem__, EvaluationSampler(dataset.lengths(), self.eval_budget))

    def plan_sources(self, texts: Sequence[str]) -> list[list[int]]:
        """The rows of each batch of ``encode_sources``: alone, in this order, they make the same batch again."""
        if not texts:
            return []
        src = Ragged.from_lists(self.tokenizers.src.encode(texts)).lengths() + 1
        batches = EvaluationSampler(Lengths(src, np.ones_like(src)), self.eval_budget)
        return [sorted(batch.indices.tolist()) for batch in batches]

    def encode_targets(self, texts: Sequence[str], sources: Sequence[str]) -> IdRows:
        """Target ids of raw text; with ``copy``, of unknown words their places in the sources."""
        copier = self._copier()
        return self.tokenizers.target.encode(texts) if copier is None else copier.encode_targets(texts, sources)

    def summary(self) -> list[tuple[str, str]]:
        """Name and value of what one wants to see before training."""
        rows = []
        for split in filter(self.corpus.has, SPLITS):
            info = self.store(split).info
            rows.append((f"{split} pairs", f"{info.pairs:,}"))
            rows.append((f"{split} tokens, src + tgt", f"{info.src_tokens:,} + {info.tgt_tokens:,}"))
            rows += [(f"{split}: {reason}", f"{count:,}") for reason, count in info.remarks.items()]
            if split != "train" and (unequal := self.store(split).unequal()):
                rows.append((f"{split} references that no output can equal", listed(unequal, info.pairs)))
            if info.src_unknown or info.tgt_unknown:
                copyable = f" ({info.copyable:,} of them stand in the source)" if self.copy else ""
                unknown = f"{info.src_unknown:,} + {info.tgt_unknown:,}{copyable}"
                rows.append((f"{split} unknown tokens, src + tgt", unknown))
        rows.append(("vocabulary, src + tgt", self._vocabulary_sizes()))
        return rows + (self._training_summary() if self.corpus.has("train") else [])

    def fingerprints(self) -> dict[str, str]:
        """Equal for equal content: of each split as text, and of the tokenizers."""
        splits: dict[str, str] = {split: self._fingerprint(split) for split in SPLITS if self.corpus.has(split)}
        tokenizers = {"src_tokenizer": self.tokenizers.src, "tgt_tokenizer": self.tokenizers.target}
        frozen = {name: json.dumps(each.frozen(), sort_keys=True) for name, each in tokenizers.items()}
        return {**splits, **{name: digest(text) for name, text in frozen.items()}}

    def _vocabulary_sizes(self) -> str:
        tgt = self.tgt_vocab_size
        return f"{self.src_vocab_size:,}" + (" (joint)" if tgt is None else f" + {tgt:,}")

    def _training_summary(self) -> list[tuple[str, str]]:
        sampler = self._train_sampler()
        lengths, plan = sampler.lengths, sampler.plan(0)
        dropped = len(lengths.src) - len(sampler.rows)
        over = int(np.count_nonzero(lengths.longest(sampler.rows) > self.budget.max_tokens))
        rows = [
            ("batches an epoch", f"{len(sampler):,}"),
            ("padding, src + tgt", f"{plan.padding(lengths.src):.1%} + {plan.padding(lengths.tgt):.1%}"),
            ("dropped pairs", f"{dropped:,}" + (f" (longer than max_length {self.max_length})" if dropped else "")),
        ]
        if over and self.budget.batch_size is None:
            rows.append(("pairs longer than a batch", f"{over:,} (each a batch of its own)"))
        return rows

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        state = {"tokenizers": self.tokenizers.state(), "copy": self.copy, "lengths": self.lengths()}
        if self._trains:
            assert self.trainer is not None
            position = position_of(self.trainer)
            before = self._start.before if position.epoch == self._start.epoch else ()
            state["position"] = [*position[:3], [list(each) for each in before]]
            state["fingerprints"] = {
                split: self._fingerprint(split) for split in STAGES["fit"] if self.corpus.has(split)
            }
        return state

    @property
    def _trains(self) -> bool:
        return self.trainer is not None and self.trainer.state.fn == "fit"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the tokenizers of a checkpoint, and its place in the data; ids made by others are forgotten."""
        if self._tokenizers is None or self._tokenizers.state() != state_dict["tokenizers"]:
            self._tokenizers = Tokenizers.from_state(state_dict["tokenizers"])
            self._stores.clear()
            vars(self).pop("_epochs", None)
        if self._trains and "position" in state_dict:
            epoch, batches, ranks, before = state_dict["position"]
            self._begin_at(Position(epoch, batches, ranks, tuple(map(tuple, before))))

    @property
    def start(self) -> Position:
        """Return where training begins: at the beginning unless it resumes."""
        return self._start

    def _begin_at(self, position: Position) -> None:
        """Also where other ranks than these have come to: every pair is seen once in their epoch all the same."""
        if position.ranks != self._place()[1]:
            sampler = self._train_sampler()
            if position.batches and sampler.limited:
                raise UserError(
                    f"the checkpoint is in the middle of an epoch of {position.ranks} ranks that limit_train_batches "
                    f"cuts short: go on with as many ranks, not {sampler.world_size}"
                )
            rank_zero_info(
                f"changed: ranks: {position.ranks} -> {sampler.world_size}: of this epoch the pairs that are left are "
                "seen once each; steps are of other sizes from here on"
            )
            position = sampler.moved(position)
        self._check_windows(position)
        self._start = position
        if self._sampler is not None:  # made before the checkpoint was read
            self._sampler.begin_at(position)

    def _check_windows(self, position: Position) -> None:
        """Raise UserError where no window of accumulation begins at this place, since their size was another."""
        assert self.trainer is not None
        size = accumulated(self.trainer, position.epoch)
        if position.batches % size and position.batches < len(self._train_sampler()):
            raise UserError(
                f"the checkpoint is {position.batches} batches into epoch {position.epoch}, where no optimizer step of "
                f"{size} batches begins: keep the accumulation of this epoch as it was"
            )
