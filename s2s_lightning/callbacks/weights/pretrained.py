"""Embeddings that start from vectors trained elsewhere."""

import math
from collections.abc import Iterator

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from s2s_lightning import PAD
from s2s_lightning.data.progress_bar import progress
from s2s_lightning.errors import UserError
from s2s_lightning.files import read_lines
from s2s_lightning.model import TokenEmbedding
from s2s_lightning.runs.trainer_queries import network, texts


class PretrainedEmbeddings(Callback):
    """Starts embeddings from word vectors in the text format of word2vec, GloVe and fastText: a word and its numbers.

    A token takes the vector of the word that it spells (a piece with the space before it too: ▁the, or else the); the
    others stay at their initialisation, and how many do is said. A resumed run keeps its own embeddings and needs no
    file. To leave them as they are, add ``Freeze``.

    Args:
        src: file of vectors for the source, plain, .gz, .xz or .zst; with a tied vocabulary it serves both sides.
        tgt: the same for the target.

    Raises:
        UserError: neither is given, a line that is no vector, one of another width than the embedding, or no token in
            the file.
    """

    def __init__(self, src: str | None = None, tgt: str | None = None) -> None:
        if src is None and tgt is None:
            raise UserError("PretrainedEmbeddings needs a file of vectors: give src, tgt or both")
        self.src = src
        self.tgt = tgt

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or trainer.ckpt_path:
            return
        model, text = network(pl_module), texts(trainer)
        for path, embedding in ((self.src, model.src_embedding), (self.tgt, model.tgt_embedding)):
            if path is None:
                continue
            assert isinstance(embedding, TokenEmbedding)
            ids = range(embedding.num_embeddings)
            tokens = text.src_tokens(ids) if embedding is model.src_embedding else text.tgt_tokens(ids, "")
            found = fill(embedding, tokens, path)
            pl_module.print(f"{path}: vectors for {found:,} of {len(tokens):,} tokens")


@torch.no_grad()
def fill(embedding: TokenEmbedding, tokens: list[str], path: str) -> int:
    """Copy the vectors of a file into the rows whose tokens (as printed) are its words; returns how many."""
    rows: dict[str, list[int]] = {}
    for row, token in enumerate(tokens):
        if row == PAD:
            continue  # its vector is zero
        rows.setdefault(token.removeprefix("▁") or token, []).append(row)
    filled = 0
    for word, vector in vectors(path, embedding.embedding_dim):
        if found := rows.pop(word, None):  # of a word that comes twice the first counts
            embedding.weight[found] = torch.tensor(numbers(vector, path, word)).to(embedding.weight) / embedding.scale
            filled += len(found)
    if not filled:
        raise UserError(f"{path} has a vector for none of the {len(tokens):,} tokens: is it of this language and case?")
    return filled


def vectors(path: str, width: int) -> Iterator[tuple[str, list[str]]]:
    """Each word and its ``width`` numbers, as they are written. The first line may count rows and columns."""
    for number, line in enumerate(progress(read_lines(path), f"Reading {path}", "vectors"), 1):
        word, *found = line.rstrip().rsplit(" ", width)  # from the right: a word may have spaces
        if number == 1 and len(line.split()) == 2:
            continue
        if len(found) != width or (number <= 2 and len(line.split()) != width + 1):
            raise UserError(
                f"{path}, line {number}: a vector of {len(line.split()) - 1} numbers for an embedding that is {width} "
                "wide; change the model's width, or take other vectors"
            )
        yield word, found


def numbers(vector: list[str], path: str, word: str) -> list[float]:
    """Return the numbers of a vector.

    Raises:
        UserError: one is none, or is not finite.
    """
    try:
        found = [float(x) for x in vector]
    except ValueError as error:
        raise UserError(f"{path}, word {word}: {error}; a line must be a word and its numbers") from error
    if not all(map(math.isfinite, found)):
        raise UserError(f"{path}, word {word}: a number is infinite or none at all; take the word out of the file")
    return found
