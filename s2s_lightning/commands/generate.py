"""``generate``: text in, text out, one line for each line, in their order."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from s2s_lightning import PROGRAM
from s2s_lightning.commands.arguments import Arguments
from s2s_lightning.errors import UserError

if TYPE_CHECKING:
    import torch

    from s2s_lightning.checkpoint import Trained
    from s2s_lightning.decoding import Decoding

GREEDY = {"class_path": "s2s_lightning.decoding.Greedy"}

WINDOW = 4096
"""Lines that are sorted by length and batched together: what memory holds at a time."""


def arguments() -> Arguments:
    """All but the group of the search, which needs heavy imports."""
    parser = Arguments(
        "generate",
        "Text in, text out: one line for each line, in their order.",
        "The search is that of the checkpoint's run unless --decoding says otherwise, e.g.\n"
        "--decoding Beam --decoding.beam_size 5; --decoding.help CLASS lists the options of a class.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="best.ckpt, last.ckpt, ...; it alone is enough")
    parser.add_argument("file", metavar="FILE", nargs="?", help="UTF-8 text, plain, .gz, .xz or .zst (default: stdin)")
    parser.add_argument("-o", "--output", metavar="FILE", help="where the output goes (default: stdout)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps, ... (default: an accelerator if there is one)")
    parser.add_argument(
        "--max_tokens", type=int, default=4096, help="source tokens of a batch, padding included (default: 4096)"
    )
    return parser


def run(command: str, args: Sequence[str]) -> None:
    search, others = split_search(args)
    if any(argument.startswith("--decoding.help") for argument in search):
        parse_search(search, GREEDY)  # prints the help and exits
    options = arguments().parse(others, ["--decoding"])

    from s2s_lightning.checkpoint import load

    model = load(options.checkpoint, device(options.device), options.max_tokens)
    decoding = parse_search(search, model.config.get("decoding", GREEDY)) if search else None
    with sink(options.output) as output:
        for text in outputs(model, source(options.file), decoding):
            output.write(line(text))
        output.flush()


def outputs(model: "Trained", lines: Iterable[str], decoding: "Decoding | None") -> Iterator[str]:
    """The best output for each line, a window of lines at a time; a bar on stderr when it takes long."""
    from tqdm import tqdm

    stream = iter(lines)
    with tqdm(desc="generate", unit=" lines", delay=2, disable=None, file=sys.stderr) as bar:
        while window := list(islice(stream, WINDOW)):
            yield from model.generate(window, decoding)
            bar.update(len(window))


def line(text: str) -> bytes:
    """One line, even when the model says a line break."""
    return text.replace("\n", " ").encode() + b"\n"


def device(name: str | None) -> "torch.device":
    """The named device, or an accelerator if there is one, else the CPU.

    Raises:
        UserError: this machine does not have it.
    """
    import torch

    if name is None:
        return torch.accelerator.current_accelerator() or torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device={name} is not to be had: {str(error).splitlines()[0]}") from error


def source(path: str | None) -> Iterator[str]:
    """Lines of a file, or of stdin; only a line feed ends one."""
    from s2s_lightning.data.corpora.files import decode_lines, read_lines

    return decode_lines(sys.stdin.buffer, "stdin") if path is None else read_lines(path)


@contextmanager
def sink(path: str | None) -> Iterator[BinaryIO]:
    """A file for bytes, or stdout."""
    if path is None:
        yield sys.stdout.buffer
        return
    try:
        file = open(path, "wb")  # noqa: SIM115  closed below; only opening it is the user's affair
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    with file:
        yield file


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


def parse_search(args: Sequence[str], stored: dict[str, Any]) -> "Decoding":
    """The search that the arguments make of the stored one."""
    from s2s_lightning.decoding import Decoding
    from s2s_lightning.parser import Parser

    parser = Parser(prog=f"{PROGRAM} generate")
    parser.add_argument("--decoding", type=Decoding, help="the search")
    base = parser.parse_object({"decoding": stored}, defaults=False)
    decoding: Decoding = parser.instantiate(parser.parse_args(list(args), namespace=base)).decoding
    if any("n_best" in argument for argument in args) and (n_best := getattr(decoding, "n_best", 1)) > 1:
        raise UserError(
            f"--decoding.n_best={n_best}: generate prints the best output alone; leave it out, "
            "or take them all from Python: s2s_lightning.load(checkpoint).search(texts, decoding)"
        )
    return decoding
