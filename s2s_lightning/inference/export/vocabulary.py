"""A vocabulary as other engines list it: a string for each id, no two alike."""

from s2s_lightning.data.tokenizers import Tokenizer


def pieces(tokenizer: Tokenizer) -> list[str]:
    """The string of each id; where two pieces look alike, as a text's own ``</s>`` and EOS do, ``#id`` marks the later.

    ``[pieces(tokenizer)[i] for i in tokenizer.encode([text])[0]]`` is what an engine reads.
    """
    ids: dict[str, int] = {}
    for i, piece in enumerate(tokenizer.vocabulary()):
        while piece in ids:
            piece = f"{piece}#{i}"
        ids[piece] = i
    return list(ids)
