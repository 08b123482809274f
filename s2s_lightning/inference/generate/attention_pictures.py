"""The attention of the chosen hypotheses, a file for each: PNG, HTML that needs no network, or NPZ for programs."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from s2s_lightning.errors import UserError
from s2s_lightning.files import cannot_be_written, shown
from s2s_lightning.inference.generate.answers import Answer

Save = Callable[[Path, str, Answer], None]
"""(path, title, answer) -> a file."""

DRAWN = 250
"""Tokens of a side of a PNG, which else might have more pixels than can be drawn; the other kinds have all."""


class Pictures:
    """A folder of them, named by the index of the request.

    Args:
        folder: made if it is missing.
        kind: "png", "html" or "npz".
        limit: of requests from the beginning of the input.

    Raises:
        UserError: the folder cannot be made.
    """

    def __init__(self, folder: str, kind: str, limit: int) -> None:
        self.folder = Path(folder)
        self.kind = kind
        self.limit = limit
        self._save: Save = {"png": save_png, "html": save_html, "npz": save_npz}[kind]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--attention={shown(folder)} cannot be made: {error.strerror}") from error

    def add(self, index: int, answers: Sequence[Answer]) -> None:
        """Draw the best answer, unless it is beyond the limit or no model was asked."""
        if index < self.limit and answers[0].weights is not None and answers[0].weights.size:
            path = self.folder / f"{index:06d}.{self.kind}"
            try:
                self._save(path, f"sentence {index}", answers[0])
            except OSError as error:
                raise cannot_be_written(path, error) from error


def save_png(path: Path, title: str, answer: Answer) -> None:
    """Draw as the callback ``Attention`` does; of a side longer than ``DRAWN`` tokens the first."""
    from s2s_lightning.plotting.matrices import Panel, cut, save

    save([cut(Panel(title, answer.source, answer.tokens, answer.weights), DRAWN)], path)


def save_npz(path: Path, title: str, answer: Answer) -> None:
    """``attention`` (T, S), ``source`` (S,) and ``tokens`` (T,)."""
    assert answer.weights is not None
    np.savez_compressed(path, attention=answer.weights, source=answer.source, tokens=answer.tokens)


PAGE = """<!doctype html>
<meta charset="utf-8">
<title>{title}</title>
<style>
 body {{ font: 13px sans-serif; }}
 table {{ border-collapse: collapse; }}
 th {{ font-weight: normal; text-align: right; padding: 0 .4em; white-space: pre; }}
 thead th {{ writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; padding: .4em 0; }}
 td {{ width: 1.6em; height: 1.6em; border: 1px solid #eee; }}
</style>
<h1>{title}</h1>
<table>
<thead><tr><td></td>{columns}</tr></thead>
{rows}
</table>
"""


def save_html(path: Path, title: str, answer: Answer) -> None:
    """A table whose cells say their weight when the pointer is over them."""
    assert answer.weights is not None
    darkest = float(answer.weights.max()) or 1.0
    columns = "".join(f'<th scope="col">{escape(piece)}</th>' for piece in answer.source)
    rows = (
        f'<tr><th scope="row">{escape(token)}</th>'
        + "".join(f'<td title="{w:.4f}" style="background:rgba(8,48,107,{w / darkest:.3f})"></td>' for w in weights)
        + "</tr>"
        for token, weights in zip(answer.tokens, answer.weights.tolist(), strict=True)
    )
    path.write_text(PAGE.format(title=escape(title), columns=columns, rows="\n".join(rows)), encoding="utf-8")
