"""Text to ids and back."""

from s2s_lightning.data.tokenizers.given import CheckpointFile, FromCheckpoint, TokenizerFile
from s2s_lightning.data.tokenizers.subwords import BPE, Unigram, WordPiece
from s2s_lightning.data.tokenizers.symbols import Bytes, Characters, Pretokenized, SymbolTokenizer, Word
from s2s_lightning.data.tokenizers.tokenizer import Tokenizer, thaw

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
