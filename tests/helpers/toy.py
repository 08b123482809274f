"""A network of a few parameters and a data module of a few sentences, for tests of what stands around them."""

from collections.abc import Sequence

import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.model import (
    Batch,
    Decoder,
    DecoderOutput,
    Encoder,
    Memory,
    MemoryShape,
    Seq2Seq,
    State,
    assemble,
    masked_mean,
)
from s2s_lightning.training.follow_metric import FollowMetric
from s2s_lightning.training.module import Seq2SeqModule

LETTERS = "abcdefgh"
VOCAB = 4 + len(LETTERS)
WIDTH = 6


class ToyEncoder(Encoder):
    """States are the embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.shape = MemoryShape(WIDTH, (1, WIDTH))

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        states = self.norm(x)
        return Memory(states, states, padding, masked_mean(states, padding))


class ToyDecoder(Decoder):
    """h_t = tanh(W [sum of y up to t; context]), the context from dot attention of two heads, or the source's mean."""

    def __init__(self, attends: bool) -> None:
        super().__init__()
        self.attends = attends
        self.mix = nn.Linear(2 * WIDTH, WIDTH)
        self.d_out = WIDTH

    def start(self, memory: Memory) -> State:
        return State(memory, torch.zeros_like(memory.states[:, 0]))

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        memory = state.context
        total = y.cumsum(1) + state.carry.unsqueeze(1)
        scores = (total @ memory.states.transpose(1, 2)).masked_fill(memory.padding.unsqueeze(1), -torch.inf)
        weights = scores.softmax(-1)
        context = weights @ memory.values if self.attends else memory.summary.expand_as(total)
        hidden = torch.tanh(self.mix(torch.cat([total, context], -1)))
        attention = torch.stack([weights, weights], 1).unsqueeze(1) if need_weights and self.attends else None
        return DecoderOutput(hidden, State(memory, total[:, -1]), attention)


def toy_network(attends: bool = True) -> Seq2Seq:
    """In float64, the same weights at each call."""
    torch.manual_seed(0)
    sizes = {"src_vocab_size": VOCAB, "tgt_vocab_size": VOCAB, "d_embedding": WIDTH}
    return assemble(ToyEncoder(), ToyDecoder(attends), **sizes, tie_embeddings="readout").double()


class ToyModule(Seq2SeqModule):
    """The toy network, trained by Lightning."""

    def __init__(self, attends: bool = True) -> None:
        super().__init__(toy_network(attends))

    def configure_callbacks(self) -> list[Callback]:
        """None of those that log: tests bring their own."""
        return [callback for callback in super().configure_callbacks() if isinstance(callback, FollowMetric)]


def encode(text: str) -> list[int]:
    """A letter, an id."""
    return [4 + LETTERS.index(letter) for letter in text]


def decode(ids: Sequence[int]) -> str:
    """What ``encode`` undoes; letters with spaces between, so that a letter is a token of the metrics."""
    return " ".join(LETTERS[max(0, token - 4)] for token in ids)


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of ids as one (B, longest) tensor."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])


def toy_batch(pairs: Sequence[tuple[str, str]], divisor: float = 0.0, first: int = 0) -> Batch:
    """Pairs of words as a batch, whose own tokens are the divisor unless it is given."""
    src, tgt_out = (pad([[*encode(word), EOS] for word in side]) for side in zip(*pairs, strict=True))
    tgt_in = torch.cat([torch.full((len(pairs), 1), BOS), tgt_out[:, :-1].where(tgt_out[:, :-1] != EOS, PAD)], 1)
    total = torch.tensor(divisor or float((tgt_out != PAD).sum()))
    return Batch(src, src == PAD, tgt_in, tgt_out, total, torch.arange(first, first + len(pairs)))


def toy_words(count: int, seed: int = 0) -> list[str]:
    """Random words of 1 to 7 letters."""
    generator = torch.Generator().manual_seed(seed)

    def draw(high: int) -> int:
        return int(torch.randint(high, (), generator=generator))

    return ["".join(LETTERS[draw(len(LETTERS))] for _ in range(1 + draw(7))) for _ in range(count)]


def windows(batches: Sequence[Sequence[tuple[str, str]]], accumulate: int) -> list[Batch]:
    """Micro-batches with the divisor of their window of ``accumulate`` (the last may be short)."""
    groups = [batches[start : start + accumulate] for start in range(0, len(batches), accumulate)]
    totals = [sum(len(tgt) + 1 for batch in group for _, tgt in batch) for group in groups]
    return [toy_batch(batch, total) for group, total in zip(groups, totals, strict=True) for batch in group]


class ToyData(LightningDataModule):
    """Copying words, with the methods that callbacks ask of a data module. Evaluation sees word 0 twice."""

    def __init__(self, train: Sequence[Batch] | None = None) -> None:
        super().__init__()
        self.words = toy_words(9)
        self.train = train or windows([[(word, word)] for word in toy_words(10, seed=1)], 1)

    def train_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.train, batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch]:
        pairs = [(word, word) for word in self.words]
        batches = [toy_batch(pairs[5:], first=5), toy_batch(pairs[:5]), toy_batch(pairs[:1])]
        return DataLoader(batches, batch_size=None)

    test_dataloader = predict_dataloader = val_dataloader

    def has(self, split: str) -> bool:
        return True

    def sources(self, split: str, indices: Sequence[int]) -> list[str]:
        return [self.words[index] for index in indices]

    def references(self, split: str, indices: Sequence[int]) -> list[tuple[str, ...]]:
        return [(" ".join(self.words[index]),) for index in indices]

    def unequal(self, split: str, indices: Sequence[int]) -> dict[str, int]:
        return {}

    def decode(self, ids: Sequence[Sequence[int]], sources: Sequence[str] | None = None) -> list[str]:
        return [decode(row) for row in ids]

    def src_tokens(self, ids: Sequence[int]) -> list[str]:
        return decode(ids).split()

    def tgt_tokens(self, ids: Sequence[int], source: str) -> list[str]:
        return decode(ids).split()

    def summary(self) -> list[tuple[str, str]]:
        return [("training pairs", f"{len(self.train)}")]


def toy_trainer(root: object, **options: object) -> Trainer:
    """A quiet trainer on one CPU."""
    quiet = {"accelerator": "cpu", "logger": False, "enable_model_summary": False, "enable_checkpointing": False}
    defaults = {"max_epochs": 1, "num_sanity_val_steps": 0, "enable_progress_bar": False}
    return Trainer(default_root_dir=str(root), **{**quiet, **defaults, **options})
