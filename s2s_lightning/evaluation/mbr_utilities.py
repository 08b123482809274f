"""Utilities of minimum Bayes risk decoding that other libraries know the text for."""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from s2s_lightning.decoding.utility import ChrF, Utility, ngrams, overlaps
from s2s_lightning.evaluation.metrics import Tokenize

__all__ = ["BLEU", "ChrF", "EditDistance"]

ORDER = 4


class BLEU(Utility):
    """Sentence BLEU as sacreBLEU computes it, from words as its tokenizer cuts them.

    BLEU = 100 * exp(min(0, 1 - r / h)) * (p_1 ... p_m)^(1 / m), h and r the words of the hypothesis and the reference.
    p_n is the share of the hypothesis's n-grams that match, and m = 4, or h if that is fewer. The k-th n without a
    match counts as 1 / 2^k matches; without any match at all BLEU is 0 (Chen & Cherry, 2014, smoothing 3).

    Args:
        tokenize: sacreBLEU's tokenizer: 13a, intl, char, zh, ja-mecab, ko-mecab, flores200 or none.
        lowercase: ignore case.
    """

    def __init__(self, tokenize: Tokenize = "13a", lowercase: bool = False) -> None:
        self.tokenize = tokenize
        self.lowercase = lowercase

    @cached_property
    def tokenizer(self) -> Callable[[str], str]:
        """A text to its words with white space between them."""
        from sacrebleu.metrics import bleu

        tokenizer: Callable[[str], str] = bleu.BLEU(tokenize=self.tokenize).tokenizer
        return tokenizer

    def __call__(self, texts: Sequence[str]) -> Tensor:
        cased = [text.lower() if self.lowercase else text for text in texts]
        words = [tuple(self.tokenizer(text.rstrip()).split()) for text in cased]
        n = range(1, ORDER + 1)
        matches = torch.stack([overlaps([ngrams(row, order) for row in words]) for order in n])  # (n, N, N)
        length = torch.tensor([len(row) for row in words], dtype=torch.float64)
        brevity = (1 - length / length.unsqueeze(1).clamp(min=1)).clamp(max=0)
        said = matches.diagonal(dim1=1, dim2=2).unsqueeze(2)  # (n, N, 1)
        none = ((matches == 0) & (said > 0)).double()
        smoothed = torch.where(matches > 0, matches, 0.5 ** none.cumsum(0)) / said.clamp(min=1)
        log_precision = (smoothed.log() * (said > 0)).sum(0) / (said > 0).sum(0).clamp(min=1)
        return 100 * (log_precision + brevity).exp() * (matches[0] > 0)


class EditDistance(Utility):
    """100 * (1 - d / max(h, r)), d the edit distance of the words of both texts, h and r how many words they have.

    Words stand between white space, as in the metric ``token_error_rate``. Two empty texts are equal: 100.
    """

    def __call__(self, texts: Sequence[str]) -> Tensor:
        from rapidfuzz.distance import Levenshtein

        words = [text.split() for text in texts]
        return 100 * torch.tensor(
            [[Levenshtein.normalized_similarity(said, right) for right in words] for said in words], dtype=torch.float64
        )
