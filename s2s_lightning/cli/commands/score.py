"""``score``: how probable a model finds given outputs, a line for each pair."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, BinaryIO

from s2s_lightning import PROGRAM
from s2s_lightning.cli.commands.arguments import Arguments
from s2s_lightning.cli.commands.generate import WINDOW, device, source
from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.files import can_be_read_again, check_output, read_lines, refuse_overwriting, stdout, written_through

if TYPE_CHECKING:
    from s2s_lightning.inference.target_scores import Scored, Total
    from s2s_lightning.inference.trained import Trained

Pair = tuple[str, str]


def arguments() -> Arguments:
    parser = Arguments(
        "score",
        "How probable a model finds given outputs: force-decoding. A line for each pair, in their order:\n"
        "log-probability (nats, EOS included), tokens (EOS counted), log-probability per token; tabs between.\n"
        "The corpus's totals and perplexities go to stderr.",
        f"examples: {PROGRAM} score best.ckpt test.en test.de -o scores.tsv\n"
        f"          paste test.en test.de | {PROGRAM} score best.ckpt\n"
        "Lines without a tab are outputs behind an empty source, as a language model reads them.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="best.ckpt, last.ckpt, ...; it alone is enough")
    parser.add_argument(
        "src",
        metavar="SRC",
        nargs="?",
        default="-",
        help="UTF-8 text, plain, .gz, .xz or .zst; without TGT: source, tab, output in each line (default: -, stdin)",
    )
    parser.add_argument("tgt", metavar="TGT", nargs="?", help="the outputs, line by line")
    parser.add_argument("-o", "--output", metavar="FILE", help="where the scores go (default: stdout)")
    parser.add_argument(
        "--tokens", action="store_true", help="JSON lines with the tokens and the log-probability of each"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps, ... (default: an accelerator if there is one)")
    parser.add_argument(
        "--max_tokens", type=int, default=4096, help="tokens of a batch: pairs times the longest side (default: 4096)"
    )
    return parser


def run(command: str, args: Sequence[str]) -> None:
    options = arguments().parse(args)
    check_at_least(1, **{"--max_tokens": options.max_tokens})
    if options.output is None:
        stdout()
    else:
        check_output(options.output)
        refuse_overwriting(options.output, options.src, options.tgt, options.checkpoint)
    pairs = columns(options.src) if options.tgt is None else parallel(options.src, options.tgt)

    from s2s_lightning.callbacks.reports.summary import table
    from s2s_lightning.inference.load import load
    from s2s_lightning.inference.target_scores import Total

    model, total = load(options.checkpoint, device(options.device), options.max_tokens), Total()
    with sink(options.output) as output:
        for scored in scores(model, pairs, total):
            output.write(as_json(scored) if options.tokens else as_row(scored))
        output.flush()
    print(table(total.rows()) if total.pairs else "there was no pair to score", file=sys.stderr)


def scores(model: "Trained", pairs: Iterable[Pair], total: "Total") -> Iterator["Scored"]:
    """The score of each pair, a window of pairs at a time; a bar on stderr when it takes long."""
    from tqdm import tqdm

    stream = iter(pairs)
    with tqdm(desc="score", unit=" pairs", delay=2, disable=None, file=sys.stderr) as bar:
        while window := list(islice(stream, WINDOW)):
            sources, targets = zip(*window, strict=True)
            for target, scored in zip(targets, model.score(sources, targets), strict=True):
                total.add(target, scored)
                yield scored
            bar.update(len(window))


def sink(path: str | None) -> AbstractContextManager[BinaryIO]:
    """A file for bytes, or stdout."""
    return nullcontext(stdout()) if path is None else written_through(path)


def as_row(scored: "Scored") -> bytes:
    return f"{scored.log_prob:.6f}\t{len(scored.tokens)}\t{scored.average:.6f}\n".encode()


def as_json(scored: "Scored") -> bytes:
    content = {"log_prob": scored.log_prob, "average": scored.average, **scored._asdict()}
    return json.dumps(content, ensure_ascii=False).encode() + b"\n"


def parallel(src: str, tgt: str) -> Iterator[Pair]:
    """The lines of two files, which are counted first: a wrong pair is said before hours of work.

    Raises:
        UserError: they have different numbers of lines.
    """
    if can_be_read_again(src) and can_be_read_again(tgt):
        counts = [sum(1 for _ in read_lines(path)) for path in (src, tgt)]
        if counts[0] != counts[1]:
            raise UserError(
                f"{src} has {counts[0]:,} lines and {tgt} {counts[1]:,}: line i of one belongs to i of the other"
            )
    return _side_by_side(src, tgt)


def _side_by_side(src: str, tgt: str) -> Iterator[Pair]:
    for number, pair in enumerate(zip_longest(read_lines(src), read_lines(tgt)), 1):
        if None in pair:
            shorter = src if pair[0] is None else tgt
            raise UserError(f"{shorter} ends before line {number:,}: line i of one belongs to line i of the other")
        yield pair


def columns(path: str) -> Iterator[Pair]:
    """Source, tab, output in each line of a file or of stdin; or the output alone, if the first line has no tab.

    Raises:
        UserError: a line with another number of columns.
    """
    name, expected = "stdin" if path == "-" else path, 0
    for number, line in enumerate(source(None if path == "-" else path), 1):
        *before, target = line.split("\t")
        expected = expected or len(before) + 1
        if len(before) + 1 != expected or expected > 2:
            rule = "source, tab, output" if expected > 1 else "an output alone, as in line 1"
            raise UserError(f"{name}, line {number}: {len(before)} tabs, and it must be {rule}")
        if number == expected == 1:
            print(f"{name} has no tab: each line is an output behind an empty source", file=sys.stderr)
        yield "".join(before), target
