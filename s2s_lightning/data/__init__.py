"""Data: corpora, tokenizers, prepared ids, bucketing, and the data module that joins them."""

from s2s_lightning.data.corpora import CMUDict, Corpus, Generated, Hub, Pair, Saved, Table, TargetSide, TextFiles
from s2s_lightning.data.datamodule import Seq2SeqData
from s2s_lightning.data.tokenizers import (
    BPE,
    Bytes,
    Characters,
    CheckpointFile,
    FromCheckpoint,
    Pretokenized,
    SymbolTokenizer,
    Tokenizer,
    TokenizerFile,
    Unigram,
    Word,
    WordPiece,
)

__all__ = [
    "BPE",
    "Bytes",
    "CMUDict",
    "Characters",
    "CheckpointFile",
    "Corpus",
    "FromCheckpoint",
    "Generated",
    "Hub",
    "Pair",
    "Pretokenized",
    "Saved",
    "Seq2SeqData",
    "SymbolTokenizer",
    "Table",
    "TargetSide",
    "TextFiles",
    "Tokenizer",
    "TokenizerFile",
    "Unigram",
    "Word",
    "WordPiece",
]
