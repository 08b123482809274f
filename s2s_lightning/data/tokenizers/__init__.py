"""Text to ids and back."""

from s2s_lightning.data.tokenizers.base import Tokenizer, thaw
from s2s_lightning.data.tokenizers.given import CheckpointFile, FromCheckpoint, TokenizerFile
from s2s_lightning.data.tokenizers.subwords import BPE, Unigram, WordPiece
from s2s_lightning.data.tokenizers.symbols import Bytes, Characters, Pretokenized, SymbolTokenizer, Word

__all__ = [
    "BPE",
    "Bytes",
    "Characters",
    "CheckpointFile",
    "FromCheckpoint",
    "Pretokenized",
    "SymbolTokenizer",
    "Tokenizer",
    "TokenizerFile",
    "Unigram",
    "Word",
    "WordPiece",
    "thaw",
]
