"""Screen of a command that runs processes: a bar, where stdout is a terminal, and lines above it."""

import sys

from tqdm import tqdm


class Lines:
    """The bar and the lines.

    Args:
        total: of what the bar counts.
        unit: what it counts.
    """

    def __init__(self, total: int, unit: str) -> None:
        bar_format = f"{{n_fmt}}/{{total_fmt}} {unit} |{{bar}}| {{elapsed}}{{postfix}}"
        hidden = not sys.stdout.isatty()
        self._bar = tqdm(total=total, bar_format=bar_format, file=sys.stdout, dynamic_ncols=True, disable=hidden)

    def say(self, line: str) -> None:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def count(self, done: int, beside: str) -> None:
        """Show how many are done; ``beside`` is the text beside the bar."""
        self._bar.n = done
        self._bar.set_postfix_str(beside)

    def close(self) -> None:
        self._bar.close()
