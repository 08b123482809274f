"""A model, its search, and what is asked about each output: what every worker holds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from s2s_lightning import UNK
from s2s_lightning.cluster.children import end_with_parent
from s2s_lightning.data.copier import Copier
from s2s_lightning.decoding import Decoding
from s2s_lightning.decoding.force_decode import Focus
from s2s_lightning.errors import UserError
from s2s_lightning.inference.generate.answers import BLANK, Answer
from s2s_lightning.inference.generate.requests import Request
from s2s_lightning.inference.generate.search import parse_search
from s2s_lightning.inference.load import load
from s2s_lightning.inference.trained import Explanation, Output, Trained


class Wanted(NamedTuple):
    """Details of the outputs that are asked for.

    Attributes:
        n_best: how many of a request, at most; None: as many as the search gives.
        tokens: their tokens with the log-probability of each.
        alignment: which piece of the source each token got most attention from.
        weights: the attention of the best, where the request wants it.
        replace_unknown: each unknown word becomes the word of the source with the most attention (Luong et al., 2015,
            arXiv:1410.8206; Jean et al., 2015, arXiv:1412.2007).
        focus: which attention.
    """

    n_best: int | None = None
    tokens: bool = False
    alignment: bool = False
    weights: bool = False
    replace_unknown: bool = False
    focus: Focus = Focus()

    @property
    def attention(self) -> bool:
        """True if anything needs attention."""
        return self.alignment or self.weights or self.replace_unknown


class Setup(NamedTuple):
    """Parts that make a session, in any process.

    Attributes:
        checkpoint: its path.
        loading: further arguments of ``load``.
        search: arguments of the command line that choose it.
        wanted: about each output.
    """

    checkpoint: str
    loading: dict[str, Any]
    search: Sequence[str] = ()
    wanted: Wanted = Wanted()


class Session:
    """A loaded model that answers requests.

    Raises:
        UserError: what is wanted cannot be had of this model.
    """

    def __init__(self, setup: Setup) -> None:
        self.wanted = setup.wanted
        self.model: Trained = load(setup.checkpoint, **setup.loading)
        self.decoding: Decoding = self.model.module.decoding
        several = setup.wanted.n_best if (setup.wanted.n_best or 1) > 1 else None  # one is left of any
        if setup.search or several:
            self.decoding = parse_search(setup.search, self.model.config.get("decoding"), several)
        self._check()

    @property
    def num_outputs(self) -> int:
        """The most answers to a request."""
        return min(self.wanted.n_best or self.decoding.num_outputs, self.decoding.num_outputs)

    def _check(self) -> None:
        if self.wanted.replace_unknown and Copier.of(self.model.data.tokenizers) is None:
            raise UserError(
                "--replace_unknown puts words of the source in the place of unknown ones: it needs tokenizers of words "
                "or characters on both sides, and pieces of words are hardly ever unknown; leave it out"
            )
        if not self.wanted.attention:
            return
        (empty,) = self.model.explain([""], [BLANK.output], self.decoding, attention=True)
        if empty.attention is None:
            raise UserError(
                f"{type(self.model.module).__name__} has no attention over the source: leave out --alignments, "
                "--attention and --replace_unknown"
            )
        self.wanted.focus.check(empty.attention)

    def length(self, text: str) -> int:
        """Tokens of a source, EOS not counted."""
        return len(self.model.data.tokenizers.src.encode([text])[0])

    def plan(self, requests: Sequence[Request]) -> list[list[int]]:
        """Group the requests that are answered together, those that take longest first."""
        return self.model.data.plan_sources([request.text for request in requests])

    def answer(self, requests: Sequence[Request]) -> list[list[Answer]]:
        """The answers to each request, best first."""
        found = self.model.find(
            [request.text for request in requests],
            self.decoding,
            prefixes=[request.prefix for request in requests],
            constraints=[request.constraints for request in requests],
        )
        flat = [(i, output) for i, outputs in enumerate(found) for output in outputs[: self.num_outputs]]
        explained = self._explain(requests, flat)
        answers: list[list[Answer]] = [[] for _ in requests]
        for place, (i, output) in enumerate(flat):
            weights = requests[i].attention and not answers[i]
            answers[i].append(self._answer(requests[i].text, output, explained.get(place), weights))
        return answers

    def _explain(self, requests: Sequence[Request], flat: list[tuple[int, Output]]) -> dict[int, Explanation]:
        """Explain outputs where it is needed, by their place in ``flat``; each comes with the place of its request."""
        everything = self.wanted.tokens or self.wanted.alignment
        places = [
            place
            for place, (i, output) in enumerate(flat)
            if everything or requests[i].attention or self._mends(output)
        ]
        found = self.model.explain(
            [requests[flat[place][0]].text for place in places],
            [flat[place][1] for place in places],
            self.decoding,
            attention=self.wanted.attention,
        )
        return dict(zip(places, found, strict=True))

    def _mends(self, output: Output) -> bool:
        return self.wanted.replace_unknown and UNK in output.ids

    def _answer(self, text: str, output: Output, explanation: Explanation | None, weights: bool) -> Answer:
        if explanation is None:
            return Answer(output)
        source, tokens, log_probs, attention = explanation
        attended = None if attention is None else self.wanted.focus.reduce(attention)
        places = [] if attended is None else attended[: len(output.ids), :-1].tolist()  # EOS says nothing
        chosen = [max(range(len(row)), key=row.__getitem__) for row in places if row]
        if self._mends(output) and chosen:
            output = self._mended(text, output, chosen)
            tokens = [*self.model.data.tgt_tokens(output.ids, text), *tokens[len(output.ids) :]]
        return Answer(
            output,
            source,
            tokens,
            log_probs,
            [(i, j) for j, i in enumerate(chosen)] if self.wanted.alignment else [],
            np.asarray(attended, np.float32) if weights and attended is not None else None,
        )

    def _mended(self, text: str, output: Output, chosen: list[int]) -> Output:
        """Replace ids from V on, which are places of source words."""
        size = self.model.data.tokenizers.target.vocab_size
        ids = [size + place if i == UNK else i for i, place in zip(output.ids, chosen, strict=True)]
        (said,) = self.model.data.decode([ids], [text])
        return output._replace(text=said, ids=ids)


def start_worker(setup: Setup, threads: int) -> None:
    """Load the model of this process."""
    import signal

    from s2s_lightning.runs.malloc import reuse_freed_memory

    global _session
    end_with_parent()
    reuse_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of the terminal; the parent ends its workers
    torch.set_num_threads(threads)
    _session = Session(setup)


def answer(requests: Sequence[Request]) -> list[list[Answer]]:
    """Answer by the model of this process."""
    assert _session is not None
    return _session.answer(requests)


_session: Session | None = None
