"""The model card of an export: README.md, made of the checkpoint and of its run's record."""

import json
from pathlib import Path
from typing import Any

import yaml

from s2s_lightning import __version__
from s2s_lightning.checkpoints.checkpoint import stored_config
from s2s_lightning.errors import without_addresses_secrets
from s2s_lightning.runs.results import validations
from s2s_lightning.tracking.own_sources import recorded
from s2s_lightning.tracking.record import earlier
from s2s_lightning.tracking.tests_file import read_tests

LOADING = {
    "safetensors": """import s2s_lightning

model = s2s_lightning.load("FOLDER")
print(model.generate(["a source sentence"]))""",
    "ctranslate2": """import ctranslate2

translator = ctranslate2.Translator("FOLDER")""",
}
"""Format of an export -> how a program reads it."""

UNKNOWN = "not stated"


def card(checkpoint: dict[str, Any], path: Path, export_format: str, licence: str | None = None) -> str:
    """Return the card as Markdown.

    Args:
        checkpoint: the content of the checkpoint.
        path: its file; the record of its run is looked for in the folder above.
        export_format: as in ``LOADING``.
        licence: of the weights, as the user states it.
    """
    run, config = path.absolute().parent.parent, without_addresses_secrets(stored_config(checkpoint))
    starts = earlier(run / "run.json")  # the last of them is the newest
    record: dict[str, Any] = starts[-1] if starts else {}
    model = config["model"]
    name = str(model["class_path"]).rsplit(".", 1)[-1]
    parameters = sum(tensor.numel() for tensor in {t.data_ptr(): t for t in checkpoint["state_dict"].values()}.values())
    head = ["---", f"license: {json.dumps(licence)}", "---", ""] if licence else []
    data = _yaml({"corpus": (config.get("data") or {}).get("corpus"), "content": record.get("data")})
    return "\n".join(
        [
            *head,
            f"# {name}, sequence to sequence",
            "",
            f"{parameters:,} parameters, step {checkpoint.get('global_step', UNKNOWN)}, "
            f"s2s_lightning {__version__}. Licence: {licence or UNKNOWN}.",
            *_section("Load", "python", LOADING[export_format]),
            *_section("Architecture", "yaml", _yaml(model)),
            *_own_code(run),
            *_section("Data", "yaml", data),
            *_metrics(run, record, path.name, checkpoint.get("global_step")),
            *_section("Training", "yaml", _yaml(_training(record, config))),
            "",
        ]
    )


def _own_code(run: Path) -> list[str]:
    """Return a section on the user's own source files, where the run has copies of them."""
    names = list(recorded(run))
    listed = "\n".join(f"- {name}" for name in names)
    note = "Copies are in own_code.zip. Nothing imports them: unpack what you trust, and add --trust MODULE."
    return ["", "## Own code", "", note, "", listed] if names else []


def _training(record: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    kept = ("command", "start", "end", "repository", "code", "hardware")
    settings = {key: config.get(key) for key in ("objective", "optimizer", "schedule", "seed_everything")}
    return {**{key: record[key] for key in kept if key in record}, **settings}


def _metrics(run: Path, record: dict[str, Any], name: str, step: int | None) -> list[str]:
    """A row for each metric of these weights, with its signature; validations and tests of other steps are left out."""
    rows = [row for row in validations(run) if row.get("step") == step]
    tests = [test for test in read_tests(run) if (test["checkpoint"], test["step"]) == (name, step)]
    scores = {metric: value for row in rows for metric, value in row.items() if metric.startswith("val/")}
    scores |= {metric: value for test in tests for metric, value in test["scores"].items()}
    signatures = {**record.get("signatures", {}), **{k: s for test in tests for k, s in test["signatures"].items()}}
    signed = {metric: signatures.get(metric.split("/")[1], "").replace("|", "\\|") for metric in scores}
    lines = [f"| {metric} | {value:.4g} | {signed[metric]} |" for metric, value in scores.items()]
    if not lines:
        return ["", "## Metrics", "", "None are recorded for these weights."]
    return ["", "## Metrics", "", "| metric | value | signature |", "|---|--:|---|", *lines]


def _section(title: str, language: str, text: str) -> list[str]:
    return ["", f"## {title}", "", f"```{language}", text.rstrip(), "```"]


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
