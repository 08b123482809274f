"""``compare``: scores of systems beside each other, how sure they are, and where they differ."""

import argparse
import os
import sys
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, get_args

from s2s_lightning import PROGRAM
from s2s_lightning.cli.commands.arguments import Arguments
from s2s_lightning.errors import UserError
from s2s_lightning.evaluation.metrics import Tokenize
from s2s_lightning.files import check_output, refuse_overwriting, stdout, write_whole

if TYPE_CHECKING:
    from s2s_lightning.evaluation.comparison import Resampling
    from s2s_lightning.evaluation.comparison.comparison_report import Report

USAGE = f"""{PROGRAM} compare --references REF [REF ...] [--] HYP [HYP ...] [options]

Each HYP is a system's output, one line for each line of every REF; the first is the baseline of the others.
  FILE                  one system
  NAME=FILE             the same, with a name for the tables
  NAME=FILE,FILE,...    one system with several seeds; a pattern in quotes serves too: 'NAME=runs/*/out.txt'
An existing file whose own name looks like one of these is that file.

Which files are references: all that follow --references, if systems stand before it, behind -- or behind another
option. If not, the first of them is the reference and the others are systems. These say the same of two references:
  --references a.ref b.ref -- x.out y.out
  --references a.ref --references b.ref x.out y.out
  x.out y.out --references a.ref b.ref"""


def arguments() -> Arguments:
    """The options; ``split`` has taken the files out before they are parsed."""
    parser = Arguments("compare", "Files are UTF-8 text, plain, .gz, .xz or .zst.")
    parser.usage = USAGE
    add = parser.add_argument
    add("--sources", metavar="FILE", help="what was translated: shown by --differences, measured by --by_length")
    add(
        "--metrics", metavar="NAME,...", default="bleu,chrf,ter",
        help="of bleu, chrf, chrf++, ter, exact_match, token_error_rate, sequence_error_rate, rouge1, rouge2, rougeL; "
        "error_rates, rouge and all stand for several (default: bleu,chrf,ter)",
    )  # fmt: skip
    add("--tokenize", choices=get_args(Tokenize), default="13a", help="BLEU's tokenizer (default: 13a)")
    add(
        "--rouge_tokenize", choices=("rouge", "split"), default="rouge",
        help="rouge knows the letters a to z and digits alone, split takes words between white space (default: rouge)",
    )  # fmt: skip
    add(
        "--test", choices=("bs", "ar", "none"), default="bs",
        help="sacreBLEU's paired bootstrap or its approximate randomization; none computes scores alone (default: bs)",
    )  # fmt: skip
    add("--samples", type=int, metavar="N", help="of the test (default: bs 1000, ar 10000)")
    add("--seed", metavar="N", help="of the samples, or none (default: the variable SACREBLEU_SEED, else 12345)")
    add("--differences", type=int, default=0, metavar="N", help="show the N lines where sentence chrF differs most")
    add(
        "--by_length", type=int, default=0, metavar="N",
        help="scores in N ranges of the length of the source, or without --sources of the first reference",
    )  # fmt: skip
    add(
        "--length_unit", choices=("words", "characters"), default="words",
        help="of --by_length; words are what stands between white space (default: words)",
    )  # fmt: skip
    add("--format", choices=("terminal", "markdown", "latex", "json"), default="terminal", help="(default: terminal)")
    add("-o", "--output", metavar="FILE", help="where the output goes (default: stdout)")
    return parser


class Files(NamedTuple):
    """Arguments that are files, and the rest."""

    references: list[str]
    systems: list[str]
    options: list[str]


def split(args: Sequence[str]) -> Files:
    """Take references and systems out of the arguments, by the rule that the help gives."""
    with_value = [name for action in arguments()._actions if action.nargs != 0 for name in action.option_strings]
    references: list[list[str]] = []
    systems: list[str] = []
    options: list[str] = []
    current, rest = systems, iter(args)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if argument == "--":
            current = systems
        elif name == "--references":
            references.append(current := [value] if equals else [])
        elif argument.startswith("-"):
            options += [argument, *islice(rest, 1 if name in with_value and not equals else 0)]
            current = systems
        else:
            current.append(argument)
    if references and not systems and "--" not in args:
        references[-1], systems = references[-1][:1], references[-1][1:]
        if len(systems) > 1 and len(references) == 1:
            print(
                f"reading {references[0][0]} as the only reference; with more, put -- before the systems",
                file=sys.stderr,
            )
    return Files([file for run in references for file in run], systems, options)


def run(command: str, args: Sequence[str]) -> None:
    files = split(args)
    options = parsed(files)

    from s2s_lightning.evaluation.comparison import Resampling
    from s2s_lightning.evaluation.comparison.bootstrap import SAMPLES

    samples = SAMPLES[options.test] if options.samples is None else options.samples
    if options.test != "none" and samples < 1:
        raise UserError(f"--samples={samples}: at least 1 is needed; --test none computes scores alone")
    result = report(files, options, Resampling(options.test, samples, seed(options.seed)))
    if options.format == "terminal":
        styled = options.output is None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        write(result.as_terminal(styled), options.output)
    else:
        formats = {"markdown": result.as_markdown, "latex": result.as_latex, "json": result.as_json}
        write(formats[options.format](), options.output)


def parsed(files: Files) -> argparse.Namespace:
    """The options, of which none asks for what cannot be.

    Raises:
        UserError: an option is unknown, or files are missing.
    """
    options = arguments().parse(files.options, ["--references"])
    if not files.references:
        raise UserError("compare needs --references REF: the right answers, a line each")
    if not files.systems:
        raise UserError("compare needs a HYP, the output of a system: compare --references REF HYP [HYP ...]")
    if options.differences and options.format == "latex":
        raise UserError("--differences prints no LaTeX: leave it out, or take --format markdown or json")
    if options.differences and len(files.systems) == 1:
        raise UserError("--differences needs two systems that differ; one is given")
    for name in ("differences", "by_length"):
        if getattr(options, name) < 0:
            raise UserError(f"--{name}={getattr(options, name)}: a number from 1 on, or 0 for none")
    if options.output:
        check_output(options.output)
        refuse_overwriting(options.output, *files.references, options.sources)
    return options


def seed(given: str | None) -> int | None:
    """Return the seed of the samples, as sacreBLEU reads it."""
    text = os.environ.get("SACREBLEU_SEED", "12345") if given is None else given
    name = "SACREBLEU_SEED" if given is None else "--seed"
    if text.lower() == "none":
        return None
    if not text.isdecimal():
        raise UserError(f"{name}={text}: a whole number from 0 on, or none")
    return int(text)


def report(files: Files, options: argparse.Namespace, resampling: "Resampling") -> "Report":
    """Read the files, score, test, and look where the systems differ."""
    from s2s_lightning.evaluation.comparison import by_length, choose, compare, differences
    from s2s_lightning.evaluation.comparison.comparison_report import Report
    from s2s_lightning.evaluation.comparison.inputs import Reader, read_references, read_systems

    measures = choose(options.metrics.split(","), options.tokenize, options.rouge_tokenize)
    read = Reader()
    references = read_references(files.references, read)
    sources = read(options.sources) if options.sources else None
    systems = read_systems(files.systems, read)
    if options.output:
        refuse_overwriting(options.output, *(path for system in systems for path in system.files))
    comparison = compare(systems, references, measures, resampling)
    measured = [first for first, *_ in references] if sources is None else sources
    lengths = [len(text.split() if options.length_unit == "words" else text) for text in measured]
    return Report(
        comparison,
        references,
        files.references,
        sources,
        options.sources,
        buckets=by_length(comparison, lengths, options.by_length) if options.by_length else [],
        length_of=f"{'source' if sources is not None else 'first reference'} in {options.length_unit}",
        differences=differences(systems, references, options.differences) if options.differences else [],
    )


def write(text: str, path: str | None) -> None:
    """Write to a file or to stdout; a file name that is not UTF-8 comes out as it went in."""
    content = text.encode(errors="surrogateescape")
    if path is None:
        stdout().write(content)
    else:
        write_whole(path, content)
