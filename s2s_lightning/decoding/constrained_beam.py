"""Lexically constrained beam search: outputs contain what they are asked to.

Shape letters as in ``beam.py``; K candidates of each live hypothesis.
"""

import torch
from torch import Tensor

from s2s_lightning import EOS, PAD
from s2s_lightning.decoding.beam import Beam, Going, Scores, Sentences
from s2s_lightning.decoding.constraints import Phrases
from s2s_lightning.decoding.search import Demands
from s2s_lightning.decoding.top_k import top_k


class ConstrainedBeam(Beam):
    """Beam search whose outputs contain given phrases, with dynamic beam allocation.

    Beside the ``beam_size`` best continuations of each hypothesis, each next token of a phrase that it lacks is a
    candidate. Candidates that lack equally many tokens form a bank, and the beam takes the best of each bank in turn,
    those that lack least first (Post & Vilar, 2018, arXiv:1804.06609, who form banks of what has been met). A beam
    narrower than the banks hurries through the phrases: take one wider than their tokens.

    A phrase asked for twice is contained twice; phrases may overlap. An output ends, by EOS, only when it contains all.
    At its maximum length what lacks something is returned if nothing that contains all was found, with ``finished``
    False. The maximum length leaves room for the prefix, all phrases and EOS, whatever the settings say. The other
    rules go before a phrase: one that contains a bad word is never said. A sentence without phrases is searched as by
    ``Beam``.
    """

    heeds_phrases = True

    def _begin(self, src_padding: Tensor, demands: Demands) -> Sentences:
        sentences = super()._begin(src_padding, demands._replace(phrases=None))
        if not any(demands.phrases or []):
            return sentences
        assert demands.phrases is not None
        if self.manners.bad_words is not None:
            for way in (way for several in demands.phrases for phrase in several for way in phrase[:1]):
                self.manners.bad_words.refuse("constraint", way)
        phrases = Phrases.of(demands.phrases, src_padding.device)
        rules = sentences.rules
        needed = (rules.prefix != PAD).sum(1) + phrases.room() + 1
        longest = torch.where(phrases.complete.squeeze(1), rules.limits.longest, needed.maximum(rules.limits.longest))
        rules = rules._replace(limits=rules.limits._replace(longest=longest))
        return sentences._replace(rules=rules, phrases=phrases)

    def _expand(self, sentences: Sentences, scores: Scores) -> Going:
        phrases = sentences.phrases
        if phrases is None:
            return super()._expand(sentences, scores)
        words, total = self._candidates(sentences, scores, phrases.wanted(sentences.tokens))
        best_word = scores.ruled[..., EOS + 1 :].amax(-1)
        width = words.shape[-1]
        parent = torch.arange(sentences.total.shape[1], device=words.device).repeat_interleave(width)
        parent = parent.expand(len(words), -1)
        end = sentences.tokens[..., -phrases.ways.shape[-1] :]  # all that a phrase may have begun in
        tokens = with_token(end, parent, words.flatten(1))
        missing = phrases.follow(parent, tokens).missing(tokens)
        chosen = allocate(total.flatten(1), missing, self.beam_size)
        return Going(chosen // width, words.flatten(1).gather(1, chosen), total.flatten(1).gather(1, chosen), best_word)

    def _candidates(self, sentences: Sentences, scores: Scores, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Words (R, W, K) with their totals: the wanted ones (R, W, C * A), then the ``beam_size`` best others."""
        raised = scores.ruled.scatter(-1, wanted, torch.inf)[..., EOS + 1 :]  # PAD, where nothing is wanted, is cut off
        top = top_k(raised, wanted.shape[-1] + self.beam_size)
        words = top.indices + EOS + 1
        total = sentences.total.unsqueeze(-1) + scores.ruled.gather(-1, words)
        # what others in the batch want gives no more candidates
        number = (top.values == torch.inf).sum(-1, keepdim=True) + self.beam_size
        beyond = torch.arange(words.shape[-1], device=words.device) >= number
        return words, total.masked_fill(beyond, -torch.inf)

    def _end(self, sentences: Sentences, scores: Scores, going: Going) -> Sentences:
        """Only what contains all phrases ends; it competes with what does and goes on."""
        if sentences.phrases is None:
            return super()._end(sentences, scores, going)
        complete = sentences.phrases.complete
        ending = sentences._replace(total=torch.where(complete, sentences.total, -torch.inf))
        rivals = going._replace(total=going.total.masked_fill(~complete.gather(1, going.parent), -torch.inf))
        found = super()._end(ending, scores, rivals)
        return sentences._replace(best=found.best, ended=found.ended)

    def _advance(self, sentences: Sentences, scores: Scores, going: Going) -> Sentences:
        if sentences.phrases is not None:
            tokens = with_token(sentences.tokens, going.parent, going.token)
            sentences = sentences._replace(phrases=sentences.phrases.follow(going.parent, tokens))
        return super()._advance(sentences, scores, going)

    def _rank(self, sentences: Sentences, tokens: Tensor, log_prob: Tensor, total: Tensor) -> Sentences:
        """Rank incomplete outputs only where nothing is complete."""
        if sentences.phrases is not None:
            complete = sentences.phrases.complete
            found = (complete & (total > -torch.inf)).any(1) | (sentences.best.score[:, 0] > -torch.inf)
            total = total.masked_fill(~complete & found.unsqueeze(1), -torch.inf)
        return super()._rank(sentences, tokens, log_prob, total)


def with_token(tokens: Tensor, parent: Tensor, token: Tensor) -> Tensor:
    """Return the tokens (R, W, t) of ``parent`` (R, N), each with its next token (R, N): (R, N, t + 1)."""
    before = tokens.gather(1, parent.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
    return torch.cat([before, token.unsqueeze(-1)], -1)


def allocate(total: Tensor, missing: Tensor, size: int) -> Tensor:
    """(R, <= size) places of what goes on, best first: of each bank the best, then of each the second, and so on.

    Args:
        total: (R, N) scores of the candidates, -inf for those that cannot go on.
        missing: (R, N) the bank of each, those with less to go first.
        size: of the beam.
    """
    order = total.argsort(dim=1, descending=True, stable=True)
    order = order.gather(1, missing.gather(1, order).argsort(dim=1, stable=True))  # by bank, the best first
    bank = missing.gather(1, order)
    place = torch.arange(bank.shape[1], device=bank.device).expand_as(bank)
    begins = torch.nn.functional.pad(bank[:, 1:] != bank[:, :-1], (1, 0), value=True)
    turn = place - torch.where(begins, place, 0).cummax(1).values
    turn = turn.masked_fill(total.gather(1, order) == -torch.inf, bank.shape[1])
    taken = turn.argsort(dim=1, stable=True)[:, :size]  # in each turn the banks come in their order
    chosen = order.gather(1, taken)
    return chosen.gather(1, total.gather(1, chosen).argsort(dim=1, descending=True, stable=True))
