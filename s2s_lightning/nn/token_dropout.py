"""Dropout of whole tokens, before and after their embedding."""

import torch
from torch import Tensor, nn

from s2s_lightning import UNK
from s2s_lightning.errors import check_below_one


class TokenDropout(nn.Module):
    """Embeds ids, some of them dropped, in training alone. PAD, BOS and EOS are no words and stay.

    Word dropout replaces a token by UNK (Bowman et al., 2016, arXiv:1511.06349). Embedding dropout sets the vector of
    a word to zero, of all its occurrences in a sentence together, and divides the other words' by 1 - p (Gal &
    Ghahramani, 2016, arXiv:1512.05287). A decoder called piece by piece draws for each piece anew.

    Attributes:
        word: probability of word dropout.
        embedding: p of embedding dropout.
    """

    def __init__(self) -> None:
        super().__init__()
        self.word = 0.0
        self.embedding = 0.0

    def set(self, word: float, embedding: float) -> None:
        """Set both probabilities.

        Raises:
            UserError: one of them is not from 0 to below 1.
        """
        check_below_one(word=word, embedding=embedding)
        self.word, self.embedding = word, embedding

    def forward(self, ids: Tensor, embed: nn.Module) -> Tensor:
        """Ids (B, T) -> (B, T, E) by ``embed``."""
        if self.training and self.word:
            ids = ids.masked_fill(_draw(ids.shape, self.word, ids) & (ids >= UNK), UNK)
        x: Tensor = embed(ids)
        return x * self._kept(ids, x.dtype) if self.training and self.embedding else x

    def _kept(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """(B, T, 1): 0 for a dropped word, 1 / (1 - p) for a kept one, 1 for what is no word."""
        first = (ids.unsqueeze(2) == ids.unsqueeze(1)).byte().argmax(2)  # of each token, where its word stands first
        dropped = _draw(ids.shape, self.embedding, ids).gather(1, first)
        scale = torch.where(dropped, 0.0, 1 / (1 - self.embedding)).where(ids >= UNK, 1.0)
        return scale.to(dtype).unsqueeze(2)


def _draw(shape: torch.Size, p: float, like: Tensor) -> Tensor:
    """True with probability p."""
    return torch.rand(shape, device=like.device) < p
