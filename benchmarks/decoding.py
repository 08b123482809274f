"""Speed of beam search: ours, Hugging Face's ``generate`` and CTranslate2 on the same weights, with the BLEU of each.

    python benchmarks/decoding.py best.ckpt --src test.de.gz --ref test.en.gz --json docs/measured/decoding.jsonl

Each contestant is a process or two, which take turns on the machine: all sentences, from token ids to token ids, in
batches of equally many source tokens that are sorted by length. What is compared is sentences a second, turn by turn:
what slows the machine down slows all.
"""

import argparse
import json
import math
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

Search = Callable[[], list[list[int]]]
"""Decodes the share of its process: the best output for each sentence, in target ids."""


class Setting(NamedTuple):
    """What all contestants share.

    Attributes:
        checkpoint: of the Transformer.
        folder: what it is for CTranslate2.
        sources: the sentences.
        beam_size: hypotheses of a sentence.
        length_penalty: alpha of score = log_prob / length^alpha.
        max_tokens: source tokens of a batch, padding included.
    """

    checkpoint: str
    folder: str
    sources: list[str]
    beam_size: int
    length_penalty: float
    max_tokens: int


class Contestant(NamedTuple):
    """An engine and what it may take.

    Attributes:
        make: makes the search of a process from the setting and further options.
        processes: that share the sentences.
        threads: of each.
        options: of ``make``.
    """

    make: Callable[..., Search]
    processes: int = 1
    threads: int = 2
    options: dict[str, Any] | None = None


def ours(setting: Setting, share: slice, patience: float = math.inf, **numbers: Any) -> Search:
    """As ``generate`` does it, in float32 unless ``numbers`` say otherwise."""
    import torch
    from s2s_lightning.inference.load import load

    from s2s_lightning.decoding import Beam, Power
    from s2s_lightning.inference.packed_linear import pack

    trained = load(setting.checkpoint, max_tokens=setting.max_tokens, **numbers)
    pack(trained.module.model)
    batches = list(trained.data.encode_sources(setting.sources))[share]
    beam = Beam(setting.beam_size, length_penalty=Power(setting.length_penalty), patience=patience)

    @torch.inference_mode()
    def search() -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for batch in batches:
            best = beam(trained.module.model, batch.src, batch.src_padding)
            found.update(zip(batch.rows.tolist(), (hypotheses[0].tokens for hypotheses in best), strict=True))
        return in_order(found, len(setting.sources))

    return search


def hugging_face(setting: Setting, share: slice, stopping: bool | str = False) -> Search:
    """``generate`` of Marian or Pegasus, on the same batches.

    ``stopping`` is its ``early_stopping``: "never" is exact, True our patience of 1, False, its default, in between.
    """
    import torch
    from hugging_face import twin
    from s2s_lightning.inference.load import load

    from s2s_lightning import BOS, EOS, PAD

    trained = load(setting.checkpoint, max_tokens=setting.max_tokens)
    batches, network = list(trained.data.encode_sources(setting.sources))[share], twin(trained.module.model)

    @torch.inference_mode()
    def search() -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for batch in batches:
            rows = network.generate(  # type: ignore[operator]
                batch.src,
                attention_mask=(~batch.src_padding).long(),
                num_beams=setting.beam_size,
                early_stopping=stopping,
                do_sample=False,
                length_penalty=setting.length_penalty,
                max_new_tokens=2 * batch.src.shape[1] + 10,
            )
            tokens = ([token for token in row if token not in (PAD, BOS, EOS)] for row in rows.tolist())
            found.update(zip(batch.rows.tolist(), tokens, strict=True))
        return in_order(found, len(setting.sources))

    return search


def ctranslate2(setting: Setting, share: slice, workers: int = 1, compute_type: str = "float32") -> Search:
    """``translate_batch``, which sorts and batches by itself; several workers are threads of its one process."""
    import torch
    from ctranslate2 import Translator
    from s2s_lightning.inference.load import load

    from s2s_lightning.inference.export.vocabulary import pieces

    data = load(setting.checkpoint).data
    vocabulary = pieces(data.tokenizers.src)
    sources = [[vocabulary[i] for i in ids] for ids in data.tokenizers.src.encode(setting.sources)]
    ids = {piece: i for i, piece in enumerate(pieces(data.tokenizers.target))}
    threads = torch.get_num_threads()
    engine = Translator(setting.folder, compute_type=compute_type, inter_threads=workers, intra_threads=threads)

    def search() -> list[list[int]]:
        results = engine.translate_batch(
            sources,
            beam_size=setting.beam_size,
            length_penalty=setting.length_penalty,
            max_batch_size=setting.max_tokens,
            batch_type="tokens",
            max_decoding_length=2 * max(map(len, sources)) + 12,
            min_decoding_length=0,
        )
        return [[ids[piece] for piece in result.hypotheses[0]] for result in results]

    return search


def in_order(found: dict[int, list[int]], count: int) -> list[list[int]]:
    """Of all sentences; those of other processes are empty."""
    return [found.get(i, []) for i in range(count)]


CONTESTANTS = {
    "ours": Contestant(ours),
    "Hugging Face": Contestant(hugging_face),
    "Hugging Face, exact": Contestant(hugging_face, options={"stopping": "never"}),
    "Hugging Face, patience 1": Contestant(hugging_face, options={"stopping": True}),
    "CTranslate2": Contestant(ctranslate2),
    "ours, 2 processes": Contestant(ours, 2, 1),
    "CTranslate2, 2 workers": Contestant(ctranslate2, 1, 1, {"workers": 2}),
    "ours, patience 1": Contestant(ours, options={"patience": 1.0}),
    "ours, patience 1, 2 processes": Contestant(ours, 2, 1, {"patience": 1.0}),
    "ours, bfloat16": Contestant(ours, options={"dtype": "bfloat16"}),
    "ours, int8": Contestant(ours, options={"quantize": "int8"}),
    "CTranslate2, int8": Contestant(ctranslate2, options={"compute_type": "int8"}),
}
BASE = "Hugging Face"


def work(contestant: Contestant, setting: Setting, share: slice, pipe: Connection) -> None:
    """A process: decodes when it is told to, and answers with what it found."""
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    from s2s_lightning.runs.malloc import reuse_freed_memory

    reuse_freed_memory()
    import torch

    torch.set_num_threads(contestant.threads)
    search = contestant.make(setting, share, **(contestant.options or {}))
    pipe.send("ready")
    while True:
        pipe.recv()
        pipe.send(search())


class Team:
    """The processes of a contestant."""

    def __init__(self, contestant: Contestant, setting: Setting) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes, self.processes = [], []
        for i in range(contestant.processes):
            pipe, theirs = context.Pipe()
            share = slice(i, None, contestant.processes)
            self.processes.append(context.Process(target=work, args=(contestant, setting, share, theirs), daemon=True))
            self.processes[-1].start()
            theirs.close()  # so that waiting for a process that died ends in an error
            pipe.recv()
            self.pipes.append(pipe)

    def decode(self) -> tuple[list[list[int]], float]:
        """The output for each sentence, and the seconds it took."""
        begin = time.perf_counter()
        for pipe in self.pipes:
            pipe.send("go")
        shares = [pipe.recv() for pipe in self.pipes]
        seconds = time.perf_counter() - begin
        return [max(outputs, key=len) for outputs in zip(*shares, strict=True)], seconds


def compete(setting: Setting, names: Sequence[str], rounds: int) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """The outputs of each, and its sentences a second in each round; a first round warms up."""
    teams = {name: Team(CONTESTANTS[name], setting) for name in names}
    outputs = {name: team.decode()[0] for name, team in teams.items()}
    results = []
    for turn in range(rounds):
        seconds = {name: teams[name].decode()[1] for name in list(teams)[:: -1 if turn % 2 else 1]}
        results.append({name: len(setting.sources) / seconds[name] for name in names})
        print(f"{turn:5}", *(f"{results[-1][name]:{max(8, len(name))}.1f}" for name in names), flush=True)
    for team in teams.values():
        for process in team.processes:
            process.kill()
    return outputs, results


def table(names: Sequence[str], results: Sequence[dict[str, float]], bleu: dict[str, float]) -> str:
    """Markdown: medians, and the ratios to Hugging Face round by round."""
    lines = ["| | sentences/s | to Hugging Face | from ... to | BLEU |", "|---|---|---|---|---|"]
    for name in names:
        rates = [rates[name] for rates in results]
        ratios = sorted(rates[name] / rates[BASE] for rates in results) if BASE in names else [float("nan")]
        spread = f"{ratios[0]:.2f} ... {ratios[-1]:.2f}"
        middle = statistics.median(ratios)
        lines.append(f"| {name} | {statistics.median(rates):.1f} | {middle:.2f} | {spread} | {bleu[name]:.2f} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="of a Transformer with positions that are added")
    parser.add_argument("--src", required=True, help="source text, plain or compressed")
    parser.add_argument("--ref", required=True, help="its references")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant")
    parser.add_argument("--beam_size", type=int, default=5)
    parser.add_argument("--length_penalty", type=float, default=1.0, help="alpha of log_prob / length^alpha")
    parser.add_argument("--max_tokens", type=int, default=1024, help="source tokens of a batch")
    parser.add_argument("--json", metavar="FILE", help="where a line for each contestant is added")
    return parser.parse_args()


def main() -> None:
    import sacrebleu
    from s2s_lightning.inference.load import load

    from s2s_lightning.files import read_lines
    from s2s_lightning.inference.export.ctranslate2 import convert

    args = parse()
    sources, references = list(read_lines(args.src)), list(read_lines(args.ref))
    trained = load(args.checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        convert(trained, folder)
        setting = Setting(args.checkpoint, folder, sources, args.beam_size, args.length_penalty, args.max_tokens)
        print("sentences a second\nround", *(f"{name:>8}" for name in args.only), flush=True)
        outputs, results = compete(setting, args.only, args.rounds)
    texts = {name: trained.data.decode(ids) for name, ids in outputs.items()}
    bleu = {name: sacrebleu.corpus_bleu(lines, [references]).score for name, lines in texts.items()}
    print(table(args.only, results, bleu))
    if args.json:
        shared = {"beam_size": args.beam_size, "length_penalty": args.length_penalty, "max_tokens": args.max_tokens}
        packages = {name: version(name) for name in ("torch", "transformers", "ctranslate2", "sacrebleu")}
        with open(args.json, "a") as file:
            for name in args.only:
                rates = [round(rates[name], 2) for rates in results]
                line = {"name": name, "sentences_per_second": rates, "bleu": round(bleu[name], 3), **shared, **packages}
                print(json.dumps(line | {"python": platform.python_version()}), file=file)


if __name__ == "__main__":
    main()
