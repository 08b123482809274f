"""A trained model and its text layer: text in, text out."""

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from s2s_lightning import EOS, PAD, UNK
from s2s_lightning.checkpoints.keys import Config
from s2s_lightning.data import Seq2SeqData
from s2s_lightning.data.tokenizers.tokenizer import SPECIALS
from s2s_lightning.decoding import Decoding, Demands, Phrase, phrases_of
from s2s_lightning.decoding.distinct_outputs import FACTORS, widened
from s2s_lightning.decoding.force_decode import force
from s2s_lightning.errors import UserError
from s2s_lightning.inference.packed_linear import pack
from s2s_lightning.inference.quantization import Quantized
from s2s_lightning.inference.target_scores import Scored, score
from s2s_lightning.model import Batch, Seq2Seq, tree_map
from s2s_lightning.runs.trainer_queries import source_ids
from s2s_lightning.training.module import Seq2SeqModule

if TYPE_CHECKING:
    from s2s_lightning.decoding import Tools


class Output(NamedTuple):
    """One output for a text, as the search found it.

    Attributes:
        text: what it says.
        log_prob: the model's own log-probability.
        score: what the search ranked by.
        finished: whether the model ended it; otherwise the maximum length cut it.
        ids: its target ids, without EOS.
    """

    text: str
    log_prob: float
    score: float
    finished: bool
    ids: list[int]


class Explanation(NamedTuple):
    """Details of an output by one force-decoding. S source pieces, T pieces of the output.

    Attributes:
        source: the pieces of the source in the order of the text, EOS last.
        tokens: the pieces of the output, EOS last if the model emitted it.
        log_probs: of each of the T, in nats; together they are the output's ``log_prob``.
        attention: (layers, heads, T, S) with which each was emitted; None if not asked for, or if there is none.
    """

    source: list[str]
    tokens: list[str]
    log_probs: list[float]
    attention: Tensor | None


class Trained:
    """A trained model and its text layer.

    Attributes:
        module: the network, in eval mode.
        data: the tokenizers.
        config: of the run; its model alone if it was not one of the command line.
        quantized: what became of its weights, if they are 8-bit.
    """

    def __init__(
        self, module: Seq2SeqModule, data: Seq2SeqData, config: Config, quantized: Quantized | None = None
    ) -> None:
        self.module = module.eval()
        self.data = data
        self.config = config
        self.quantized = quantized

    @cached_property
    def tools(self) -> "Tools":
        """Return the tools of the search."""
        from s2s_lightning.inference.search_tools import tools_of

        return tools_of(self.data, self._alike)

    def generate(
        self,
        texts: Sequence[str],
        decoding: Decoding | None = None,
        *,
        prefixes: Sequence[str] | None = None,
        constraints: Sequence[Sequence[str]] | None = None,
    ) -> list[str]:
        """The best output for each text; arguments as for ``search``."""
        found = self.search(texts, decoding, prefixes=prefixes, constraints=constraints)
        return [best[0].text for best in found]

    def search(
        self,
        texts: Sequence[str],
        decoding: Decoding | None = None,
        *,
        prefixes: Sequence[str] | None = None,
        constraints: Sequence[Sequence[str]] | None = None,
    ) -> list[list[Output]]:
        """Search each text, and return its outputs, best first; warn where a list stays short.

        Texts of a list differ, samples aside: of one text in several pieces the best-scored stands. Where too few
        differ, the beam is widened up to 8 times.

        Args:
            texts: one sequence each.
            decoding: the search; that of the run by default.
            prefixes: for each text what its outputs begin with.
            constraints: for each text phrases that its outputs contain.

        Raises:
            UserError: constraints for a search that would ignore them, or a word that the target vocabulary has not.
        """
        found = self.find(texts, decoding, prefixes=prefixes, constraints=constraints)
        said = fewer(found, decoding or self.module.decoding)
        if said:
            warnings.warn(said, stacklevel=2)
        return found

    @torch.inference_mode()
    def find(
        self,
        texts: Sequence[str],
        decoding: Decoding | None = None,
        *,
        prefixes: Sequence[str] | None = None,
        constraints: Sequence[Sequence[str]] | None = None,
    ) -> list[list[Output]]:
        """Return what ``search`` does, without its warning of lists that stay short."""
        decoding = self._attached(decoding)
        pack(self.module.model)
        demands = self._demands(texts, prefixes, constraints, decoding)
        found = self._found(texts, range(len(texts)), decoding, demands)
        number = decoding.num_outputs
        if number == 1 or widened(decoding, 1) is None:
            return found
        found = [distinct(outputs) for outputs in found]
        for factor in FACTORS:
            short = [i for i, outputs in enumerate(found) if len(outputs) < number]
            wider = widened(decoding, factor)
            if not short or wider is None:
                break
            for i, outputs in zip(short, self._found(texts, short, wider, demands), strict=True):
                found[i] = max(found[i], distinct(outputs)[:number], key=len)
        return found

    def _found(
        self,
        texts: Sequence[str],
        places: Sequence[int],
        decoding: Decoding,
        demands: tuple[list[list[int]] | None, list[list[Phrase]] | None],
    ) -> list[list[Output]]:
        """Return the outputs for the texts at ``places``."""
        found: list[list[Output]] = [[] for _ in places]
        for batch in self.data.encode_sources([texts[place] for place in places]):
            rows, batch = batch.rows.tolist(), self._moved(batch)
            asked = demands_of([places[row] for row in rows], *demands, device=batch.src.device)
            hypotheses = decoding(self.module.model, batch.src, batch.src_padding, batch.src_copy, asked)
            for row, best in zip(rows, hypotheses, strict=True):
                words = self.data.decode([h.tokens for h in best], [texts[places[row]]] * len(best))
                found[row] = [
                    Output(text, h.log_prob, h.score, h.finished, h.tokens) for text, h in zip(words, best, strict=True)
                ]
        return found

    @torch.inference_mode()
    def explain(
        self,
        texts: Sequence[str],
        outputs: Sequence[Output],
        decoding: Decoding | None = None,
        *,
        attention: bool = False,
    ) -> list[Explanation]:
        """Explain an output for each text by one force-decoding with the network of the search.

        Args:
            texts: one sequence each.
            outputs: one for each.
            decoding: the search that found them; that of the run by default.
            attention: whether it is wanted.
        """
        network = self._attached(decoding).network(self.module.model)
        found: dict[int, Explanation] = {}
        for batch in self.data.encode_forced(texts, [output.ids for output in outputs]):
            forced = force(network, self._moved(batch), attention)
            log_probs = forced.log_probs.tolist()
            for place, (row, src) in enumerate(zip(batch.rows.tolist(), source_ids(batch), strict=True)):
                weights = None if forced.attention is None else forced.attention[place].float().cpu()
                found[row] = self._explanation(texts[row], outputs[row], src[:-1], log_probs[place], weights)
        return [found[row] for row in range(len(texts))]

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[Scored]:
        """Return how probable each target is for its source; a language model's sources are empty."""
        return score(self.module, self.data, sources, targets)

    def _explanation(
        self, text: str, output: Output, src: list[int], log_probs: list[float], weights: Tensor | None
    ) -> Explanation:
        """Explain one row; src is without EOS."""
        emitted = len(output.ids) + output.finished
        order = list(range(len(src)))
        if self.data.tokenizers.reverse_source:
            order.reverse()
        source = [*self.data.src_tokens([src[i] for i in order]), SPECIALS[EOS]]
        tokens = [*self.data.tgt_tokens(output.ids, text), SPECIALS[EOS]][:emitted]
        if weights is not None:
            weights = weights[..., :emitted, [*order, len(src)]]
        return Explanation(source, tokens, log_probs[:emitted], weights)

    def _alike(self, other: Seq2Seq) -> Seq2Seq:
        """The network of another checkpoint, where the model is and in its numbers; 8-bit integers are the model's."""
        parameter = next(self.module.parameters())
        other = other.to(parameter.device, parameter.dtype)
        pack(other)
        return other

    def _attached(self, decoding: Decoding | None) -> Decoding:
        """The search that is asked for, or that of the run."""
        chosen = decoding or self.module.decoding
        with torch.inference_mode(False):  # which makes weights that cannot be packed
            chosen.attach(self.tools)
        return chosen

    def _moved(self, batch: Batch) -> Batch:
        moved: Batch = tree_map(lambda x: x.to(self.module.device), batch)
        return moved

    def _demands(
        self,
        texts: Sequence[str],
        prefixes: Sequence[str] | None,
        constraints: Sequence[Sequence[str]] | None,
        decoding: Decoding,
    ) -> tuple[list[list[int]] | None, list[list[Phrase]] | None]:
        """The ids of the prefix and of the phrases of each text."""
        if constraints is not None and any(constraints) and not decoding.heeds_phrases:
            raise UserError(
                f"{type(decoding).__name__} would ignore constraints: take a search that heeds them, "
                "such as --decoding ConstrainedBeam"
            )
        prefix = None if prefixes is None or not any(prefixes) else self._known(prefixes, texts)
        if constraints is None or not any(constraints):
            return prefix, None
        return prefix, phrases_of(constraints, self.tools)

    def _known(self, wanted: Sequence[str], texts: Sequence[str]) -> list[list[int]]:
        rows = self.data.encode_targets(wanted, texts)
        for text, ids in zip(wanted, rows, strict=True):
            if UNK in ids:
                raise UserError(f"{text.strip()!r} cannot be asked for: the target vocabulary lacks a word of it")
        return rows


def distinct(outputs: Sequence[Output]) -> list[Output]:
    """Keep of each text the first, which is the best."""
    found: dict[str, Output] = {}
    for output in outputs:
        found.setdefault(output.text, output)
    return list(found.values())


def fewer(found: Sequence[Sequence[object]], decoding: Decoding) -> str:
    """Say how many lists are shorter than the search was asked for; nothing if none is."""
    short = sum(len(outputs) < decoding.num_outputs for outputs in found)
    if not short or widened(decoding, 1) is None:
        return ""
    return f"{short:,} of {len(found):,} sentences have fewer than {decoding.num_outputs} different outputs"


def demands_of(
    rows: Sequence[int],
    prefixes: Sequence[Sequence[int]] | None,
    phrases: Sequence[Sequence[Phrase]] | None,
    *,
    device: torch.device,
) -> Demands:
    """Return the demands of the sentences ``rows``, in their order."""
    prefix = None
    if prefixes is not None:
        chosen = [torch.tensor(prefixes[row], dtype=torch.long) for row in rows]
        prefix = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=PAD).to(device)
    return Demands(prefix, None if phrases is None else [phrases[row] for row in rows])
