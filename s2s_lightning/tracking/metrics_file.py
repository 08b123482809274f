"""metrics.csv, which a run that goes on in its folder adds to."""

import csv
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

NAME = ExperimentWriter.NAME_METRICS_FILE


class MetricsFile(CSVLogger):
    """Lightning's, but that it keeps the rows of an earlier start, up to a step.

    Args:
        folder: of the run.
        until: the step from which the run goes on; what was logged after it will be logged again. 0 for a new run.
    """

    def __init__(self, folder: Path, until: int = 0) -> None:
        super().__init__(folder, name="", version="")
        self.until = until

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer, made when first asked for."""
        if self._experiment is None:
            self._experiment = _Writer(self.log_dir, self.until)
        return self._experiment


class _Writer(ExperimentWriter):
    """A kill at any moment leaves the old file or the new one."""

    def __init__(self, log_dir: str, until: int) -> None:
        super().__init__(log_dir)
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        header, rows = _read(path)
        self.metrics_keys = header
        self._replace([row for row in rows if int(row["step"]) <= until])

    def _check_log_dir_exists(self) -> None:
        """Lightning's removes the file."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._replace(_read(Path(self.metrics_file_path))[1])

    def _replace(self, rows: list[dict[str, str]]) -> None:
        temporary = Path(self.metrics_file_path + ".tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(self.metrics_file_path)


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and whole rows; the last may have been cut."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if None not in row.values() and row["step"].isdigit()]
        return list(reader.fieldnames or []), rows
