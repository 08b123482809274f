"""What stands in a sweep file is what W&B and our command line understand."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from s2s_lightning.cli.fit import CLI
from s2s_lightning.errors import UserError
from tests.cli.conftest import Run
from tests.tracking.sweeps.conftest import ROOT, SHIPPED, Json

VIOLATIONS = """
import json, sys, yaml
from sweeps import schema_violations_from_proposed_config as violations
print(json.dumps([violations(yaml.safe_load(open(path))) for path in sys.argv[1:]]))
"""


class ParsedOnly(CLI):
    """A command line that nothing comes of."""

    def instantiate_classes(self) -> None:
        pass


def schema_violations(engine: str, *paths: Path) -> list[list[str]]:
    """Of each file, what W&B's schema forbids."""
    output = subprocess.run([engine, "-W", "ignore", "-c", VIOLATIONS, *paths], capture_output=True, check=True).stdout
    lists: list[list[str]] = json.loads(output)
    return lists


def test_every_file_keeps_the_schema_of_wandb(engine: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(SHIPPED[0].read_text().replace("method: ", "method: annealing # "))
    *shipped, of_the_broken = schema_violations(engine, *SHIPPED, broken)
    assert not any(shipped)
    assert of_the_broken


def choices(parameter: Json) -> list[Any]:
    """What a parameter can be; of a range, its ends."""
    if nested := parameter.get("parameters"):
        return list(trials(nested))
    return parameter.get("values") or [parameter[key] for key in ("value", "min", "max") if key in parameter]


def trials(parameters: Json) -> Iterator[Json]:
    """Trials in which each choice of each parameter occurs."""
    options = {name: choices(parameter) for name, parameter in parameters.items()}
    for number in range(max(map(len, options.values()))):
        yield {name: values[min(number, len(values) - 1)] for name, values in options.items()}


def arguments(command: list[str], trial: Json, folder: Path) -> list[str]:
    """What the agent makes of a command; without the program."""
    given = create_sweep_command_args({"args": {name: {"value": value} for name, value in trial.items()}})
    file = folder / "trial.json"
    file.write_text(given["args_json"][0])
    given["args_json_file"] = [str(file)]
    after = command[command.index("s2s_lightning") + 1 :]
    return [word for part in after for word in (given[part[2:-1]] if part.startswith("${") else [part])]


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of whatever is no mapping."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value


def short(value: Any) -> Any:
    """Classes are parsed into their paths."""
    return value.rpartition(".")[2] if isinstance(value, str) else value


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_trial_of_a_file_is_understood(path: Path, trained: Run, tmp_path: Path) -> None:
    sweep = yaml.safe_load(path.read_text())
    for trial in trials(sweep["parameters"]):
        if "ckpt_path" in trial:
            trial["ckpt_path"] = str(trained.best)
        command, *words = arguments(sweep["command"], trial, tmp_path)
        parsed = dict(leaves(ParsedOnly(command, words)._plain()))
        for name, value in leaves(trial):
            if name != "config":
                found = parsed[name] if name in parsed else parsed[f"{name}.class_path"]
                assert short(found) == short(value)


@pytest.mark.parametrize(
    "trial",
    [
        {"trainer.gradient_clip_val": None},
        {"optimizer.init_args.fused": False},
        {"optimizer.init_args.betas": [0.9, 0.9]},
        {"model": {"init_args": {"d_model": 64, "tie_embeddings": "all"}}},
        {"model.init_args": {"d_model": 64}, "seed_everything": 5},
        {"decoding": {"class_path": "Beam", "init_args": {"beam_size": 2, "length_penalty": None}}},
    ],
    ids=lambda trial: next(iter(trial)),
)
def test_a_trial_as_a_configuration_file_keeps_its_values(trial: Json, tmp_path: Path) -> None:
    command = ["s2s_lightning", "--config", str(ROOT / "configs/transformer.yaml"), "--config", "${args_json_file}"]
    parsed = dict(leaves(ParsedOnly("fit", arguments(command, trial, tmp_path))._plain()))
    for name, value in leaves(trial):
        assert short(parsed[name]) == short(value)


def test_null_on_the_command_line_is_refused_as_the_document_says(tmp_path: Path) -> None:
    command = ["s2s_lightning", "--config", str(ROOT / "configs/transformer.yaml"), "${args}"]
    with pytest.raises(UserError, match="gradient_clip_val=None"):
        ParsedOnly("fit", arguments(command, {"trainer.gradient_clip_val": None}, tmp_path))


def test_the_document_lists_the_files_with_their_search_and_metric() -> None:
    rows = re.findall(
        r"^\| `(sweeps/.*)` \| .* \| (.*) \| `(.*)` \|$",
        (ROOT / "docs/experiments/sweeps.md").read_text(),
        re.MULTILINE,
    )
    listed = {name: (search.lower()[:5], metric) for name, search, metric in rows}
    files = {f"sweeps/{path.name}": yaml.safe_load(path.read_text()) for path in SHIPPED}
    assert listed == {name: (file["method"][:5], file["metric"]["name"]) for name, file in files.items()}
