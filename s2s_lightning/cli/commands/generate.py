"""``generate``: text in, text out, one line for each line, in their order."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2s_lightning.cli.commands.arguments import Arguments
from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.files import can_be_read_again, check_output, refuse_overwriting, stdout, written_through

if TYPE_CHECKING:
    import torch

    from s2s_lightning.inference.generate.crew import Crew
    from s2s_lightning.inference.generate.requests import Request
    from s2s_lightning.inference.generate.session import Setup
    from s2s_lightning.inference.generate.task import Task

WINDOW = 4096

SAME = ("file", "output", "overwrite", "processes", "threads", "attention", "attention_format", "attention_lines")
"""Options that the lines of the output do not depend on."""


def arguments() -> Arguments:
    """Return the parser of everything but the group of the search, which needs heavy imports."""
    parser = Arguments(
        "generate",
        "Text in, text out: one line for each line, in their order.",
        "The search is that of the checkpoint's run unless --decoding says otherwise, e.g.\n"
        "--decoding Beam --decoding.beam_size 5; --decoding.help CLASS lists the options of a class.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="best.ckpt, last.ckpt, ...; it alone is enough")
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="UTF-8 text, plain, .gz, .xz or .zst (default: -, stdin, or a prompt)"
    )
    _add_input(parser.add_argument_group("input"))
    _add_output(parser.add_argument_group("output"))
    _add_attention(parser.add_argument_group("attention (any of these needs a family that has it over the source)"))
    _add_work(parser.add_argument_group("work"))
    return parser


def _add_input(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--input_format",
        choices=["text", "jsonl"],
        default="text",
        help="jsonl: objects with text and, optionally, prefix and a list constraints (default: text)",
    )
    group.add_argument("--prefix", metavar="TEXT", default="", help="what all outputs begin with")
    group.add_argument("--prefixes", metavar="FILE", help="what the outputs of each line begin with")
    group.add_argument(
        "--constraints",
        metavar="FILE",
        help="phrases that the outputs of each line contain, tabs between them; the search must heed them",
    )
    group.add_argument(
        "--max_source_length", type=int, metavar="N", help="tokens that a source may have (default: any number)"
    )
    group.add_argument(
        "--long",
        choices=["split", "truncate", "error"],
        default="split",
        help="what becomes of a longer one: split at the ends of sentences, or else at white space, and the outputs "
        "joined; cut off; or refused (default: split)",
    )
    group.add_argument(
        "--blank",
        choices=["line", "model"],
        default="line",
        help="a blank line without a prefix or constraints gives an empty line, or what the model says to the empty "
        "source, as a language model needs (default: line)",
    )


def _add_output(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-o", "--output", metavar="FILE", help="where it goes (default: stdout); a stopped run is continued"
    )
    group.add_argument("--overwrite", action="store_true", help="begin FILE anew")
    group.add_argument("--output_format", choices=["text", "jsonl"], default="text", help="(default: text)")
    group.add_argument(
        "--n_best", type=int, metavar="N", help="outputs of each line: line ||| text ||| score (default: the search's)"
    )
    group.add_argument("--scores", action="store_true", help="with ||| score ||| log-probability of each output")
    group.add_argument("--token_scores", action="store_true", help="with the log-probability of each token")
    group.add_argument(
        "--replace_unknown",
        action="store_true",
        help="each unknown word becomes the source word with the most attention",
    )


def _add_attention(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--alignments",
        action="store_true",
        help="with the source token that each token attended to most: Pharaoh's i-j, counted from 0",
    )
    group.add_argument("--attention", metavar="FOLDER", help="where a picture of the best output of each line goes")
    group.add_argument("--attention_format", choices=["png", "html", "npz"], default="png", help="(default: png)")
    group.add_argument(
        "--attention_lines", type=int, default=20, metavar="N", help="of the first N lines alone (default: 20)"
    )
    group.add_argument("--layer", type=int, help="counted from 0, -1 is the last (default: the mean of all)")
    group.add_argument("--head", type=int, help="counted from 0, -1 is the last (default: the mean of all)")


def _add_work(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--device", help="cpu, cuda, cuda:1, mps, ... (default: an accelerator if there is one)")
    group.add_argument(
        "--max_tokens", type=int, default=4096, help="source tokens of a batch, padding included (default: 4096)"
    )
    group.add_argument(
        "--window",
        type=int,
        default=WINDOW,
        metavar="N",
        help=f"lines that are sorted by length and answered together; 1 answers each at once (default: {WINDOW})",
    )
    group.add_argument("--processes", type=int, default=1, metavar="N", help="that share the work (default: 1)")
    group.add_argument(
        "--threads", type=int, metavar="N", help="of each process (default: 1 of several processes, torch's of one)"
    )
    group.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="(default: float32)")
    group.add_argument("--quantize", choices=["int8"], help="8-bit linear layers, on the CPU")


def run(command: str, args: Sequence[str]) -> None:
    search, others = split_search(args)
    if any(argument.startswith("--decoding.help") for argument in search):
        from s2s_lightning.inference.generate.search import parse_search

        parse_search(search)  # prints the help and exits
    options = arguments().parse(others, ["--decoding"])
    options.file = None if options.file == "-" else options.file
    check(options)
    try:
        generate(options, search)
    except KeyboardInterrupt:
        if options.output is not None:
            print(f"\nstopped; the same command continues {options.output}", file=sys.stderr)
        raise


def check(options: argparse.Namespace) -> None:
    """Raises UserError for options that contradict each other, or that could not take effect."""
    counts = ("n_best", "max_source_length", "max_tokens", "window", "processes", "threads")
    check_at_least(1, **{f"--{name}": getattr(options, name) for name in counts})
    check_at_least(0, **{"--attention_lines": options.attention_lines})
    if options.prefix and options.prefixes:
        raise UserError("--prefix is for all lines and --prefixes has one for each: leave one of them out")
    if options.input_format == "jsonl" and (options.prefix or options.prefixes or options.constraints):
        raise UserError("--input_format jsonl has prefix and constraints in its objects: leave the options out")
    if options.overwrite and options.output is None:
        raise UserError("--overwrite is about an output file: add -o FILE, or leave it out")
    beside = options.prefixes or options.constraints or options.attention or options.input_format == "jsonl"
    if beside and at_prompt(options):
        raise UserError("at a prompt there are no files, pictures or JSON lines: give FILE, or lines through a pipe")
    looks = options.alignments or options.attention or options.replace_unknown
    if not looks and (options.layer is not None or options.head is not None):
        raise UserError("--layer and --head choose attention for --alignments, --attention or --replace_unknown")


def at_prompt(options: argparse.Namespace) -> bool:
    """True if somebody types at a terminal, and reads the answers there."""
    return options.file is None and options.output is None and sys.stdin is not None and sys.stdin.isatty()


def generate(options: argparse.Namespace, search: Sequence[str]) -> None:
    """Answer what is in the file or comes from stdin."""
    check_files(options)
    again = options.file is not None and all(map(can_be_read_again, filter(None, inputs(options))))
    total = sum(1 for _ in requests(options)) if again else None  # and so read for mistakes first

    import torch

    from s2s_lightning.checkpoints.folder_digest import checkpoint_digest
    from s2s_lightning.inference.generate.continuation import ResumableFile
    from s2s_lightning.inference.generate.task import Stream

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    setup = setup_of(options, search)
    task = task_of(options, setup)
    if at_prompt(options):
        from s2s_lightning.inference.generate.prompt import converse
        from s2s_lightning.inference.generate.requests import Request

        converse(lambda line: task.answer(Request(line, options.prefix)))
        return
    if options.output is None or not can_be_resumed(options.output):
        output = nullcontext(stdout()) if options.output is None else written_through(options.output)
        with output as stream, crew_of(options, setup, task) as crew:
            task.run(requests(options), crew, Stream(stream), total)
        return
    kept = {name: value for name, value in vars(options).items() if name not in SAME}
    made = {**kept, "checkpoint": checkpoint_digest(options.checkpoint), "search": " ".join(search)}
    with ResumableFile(options.output, made, options.overwrite) as file, crew_of(options, setup, task) as crew:
        if file.done:
            print(f"{options.output} has {file.done:,} lines already: going on from there", file=sys.stderr)
        task.run(file.rest(requests(options)), crew, file, total)


def inputs(options: argparse.Namespace) -> list[str | None]:
    """The files that are read."""
    return [options.file, options.prefixes, options.constraints]


def check_files(options: argparse.Namespace) -> None:
    """Raises UserError for an output that cannot be written, before the model is read."""
    if options.output is None:
        stdout()
        return
    check_output(options.output)
    if can_be_resumed(options.output):
        check_output(f"{options.output}.run.json")
    refuse_overwriting(options.output, options.checkpoint, *inputs(options))


def can_be_resumed(output: str) -> bool:
    """True if the output is a regular file, or will be one: a device or a pipe keeps nothing."""
    return can_be_read_again(output) or not Path(output).exists()


def requests(options: argparse.Namespace) -> Iterator["Request"]:
    """Yield the requests as they are read."""
    from s2s_lightning.inference.generate.requests import from_jsonl, from_text, with_constraints, with_prefixes

    lines = source(options.file)
    if options.input_format == "jsonl":
        asked = from_jsonl(lines, options.file or "stdin")
    else:
        asked = from_text(lines, options.prefix)
    if options.prefixes is not None:
        asked = with_prefixes(asked, source(options.prefixes))
    if options.constraints is not None:
        asked = with_constraints(asked, source(options.constraints))
    drawn = 0 if options.attention is None else options.attention_lines
    return (request._replace(attention=index < drawn) for index, request in enumerate(asked))


def setup_of(options: argparse.Namespace, search: Sequence[str]) -> "Setup":
    """Return the setup that every process loads."""
    from s2s_lightning.decoding.force_decode import Focus
    from s2s_lightning.inference.generate.session import Setup, Wanted

    wanted = Wanted(
        n_best=options.n_best,
        tokens=options.token_scores,
        alignment=options.alignments,
        weights=options.attention is not None,
        replace_unknown=options.replace_unknown,
        focus=Focus(options.layer, options.head),
    )
    loading: dict[str, Any] = {
        "device": device(options.device),
        "max_tokens": options.max_tokens,
        "dtype": options.dtype,
        "quantize": options.quantize,
    }
    return Setup(options.checkpoint, loading, search, wanted)


def task_of(options: argparse.Namespace, setup: "Setup") -> "Task":
    """The model of this process, and what is done with it."""
    from s2s_lightning.inference.generate.attention_pictures import Pictures
    from s2s_lightning.inference.generate.formats import Fields, as_json, as_text
    from s2s_lightning.inference.generate.session import Session
    from s2s_lightning.inference.generate.source_length import Cutter
    from s2s_lightning.inference.generate.task import Manner, Task

    session = Session(setup)
    if session.model.quantized is not None:
        print(session.model.quantized, file=sys.stderr)
    fields = Fields(session.num_outputs > 1, options.scores, options.token_scores, options.alignments)
    pictures = None
    if options.attention is not None:
        pictures = Pictures(options.attention, options.attention_format, options.attention_lines)
        print(f"{options.attention}: attention of the first {options.attention_lines} lines", file=sys.stderr)
    manner = Manner(
        partial(as_json if options.output_format == "jsonl" else as_text, fields),
        window=options.window,
        ask_blank=options.blank == "model",
        ahead=options.file is not None,
        pictures=pictures,
    )
    return Task(session, Cutter(session.length, options.max_source_length, options.long), manner)


def crew_of(options: argparse.Namespace, setup: "Setup", task: "Task") -> AbstractContextManager["Crew"]:
    """This process, or as many as are asked for."""
    from s2s_lightning.inference.generate.crew import Alone, workers

    if options.processes == 1:
        return nullcontext(Alone(task.session))
    return workers(setup, options.processes, options.threads or 1)


def device(name: str | None) -> "torch.device":
    """The named device, or an accelerator if there is one, else the CPU.

    Raises:
        UserError: this machine does not have it.
    """
    import torch

    if name is None:
        return torch.accelerator.current_accelerator() or torch.device("cpu")
    if name.startswith("meta"):
        raise UserError(f"--device={name} keeps no numbers: take cpu or an accelerator")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device={name} is not to be had: {str(error).splitlines()[0]}") from error


def source(path: str | None) -> Iterator[str]:
    """Lines of a file, or of stdin; only a line feed ends one."""
    from s2s_lightning.files import decode_lines, read_lines

    if path is None and sys.stdin is None:
        raise UserError("stdin is closed: give FILE, or lines through a pipe")
    return decode_lines(sys.stdin.buffer, "stdin") if path is None else read_lines(path)


def split_search(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments of the search, each with its value, and the others."""
    search: list[str] = []
    others: list[str] = []
    rest = iter(args)
    for argument in rest:
        if argument.split("=")[0].split(".")[0] != "--decoding":
            others.append(argument)
        else:
            search += [argument] if "=" in argument else [argument, *islice(rest, 1)]
    return search, others
