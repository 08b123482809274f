"""Tools of a search, from the text layer and from other checkpoints."""

from collections.abc import Callable
from functools import cache

from s2s_lightning import UNK
from s2s_lightning.checkpoints.checkpoint import other_language_model, other_network
from s2s_lightning.data import Seq2SeqData
from s2s_lightning.decoding import Tools
from s2s_lightning.decoding.search import Lengths
from s2s_lightning.model import Seq2Seq


def tools_of(data: Seq2SeqData, ready: Callable[[Seq2Seq], Seq2Seq] = lambda network: network) -> Tools:
    """Build the tools a search needs: tokenizer functions, and loaders of other checkpoints that share the vocabularies
    of ``data`` (cached).

    Args:
        data: with tokenizers.
        ready: what becomes of the network of another checkpoint.
    """

    def encode(text: str) -> list[list[int]]:
        ids = data.tokenizers.target.encode([text, f" {text}"])
        return [list(row) for row in dict.fromkeys(map(tuple, ids)) if row and UNK not in row]

    def decode(ids: list[int]) -> str:
        return data.decode([ids])[0]

    @cache
    def network(path: str) -> Seq2Seq:
        return ready(other_network(path, data))

    @cache
    def language_model(path: str) -> Seq2Seq:
        return ready(other_language_model(path, data))

    def lengths() -> Lengths | None:
        found = data.lengths()
        return None if found is None else Lengths(tuple(found[0]), tuple(found[1]), found[2])

    return Tools(network, language_model, encode, decode, lengths)
