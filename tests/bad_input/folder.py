"""A working folder with a tiny run and files that are not what they should be."""

from pathlib import Path

import torch

from tests.cli.conftest import CONFIG

SWEEP = """
method: random
run_cap: 2
metric: {name: val/loss, goal: minimize}
parameters: {optimizer.init_args.lr: {min: 0.001, max: 0.01}}
command: ['${interpreter}', '-c', 'pass']
"""

METRIC = "\nmetric: {name: x, goal: minimize}\nrun_cap: 2\n"

TEXTS = {
    "tiny.yaml": CONFIG,
    "sw.yaml": SWEEP,
    "src.txt": "a b c\nb c\n",
    "tgt.txt": "a b c\nb c\n",
    "one.txt": "a b\n",
    "empty.txt": "",
    "bad.json": "{",
    "arr.json": "[1,2]",
    "self.yaml": "a: &a [*a]\n",
    "bad.jsonl": '{"text": 5}\n{"txt": "a"}\n',
    "bad2.jsonl": '{"text": "a", "constraints": 5}\n',
    "bad3.jsonl": "no json\n",
    "bad4.jsonl": '{"text": "a", "prefix": 3}\n',
    "arr.jsonl": "[1]\n",
    "tabs.tsv": "a\tb\tc\na\tb\n",
    "good.tsv": "a b\ta b\nb\tb\n" * 20,
    "sw0.yaml": "method: foo\nparameters: {a: {value: 1}}",
    "sw1.yaml": "method: grid",
    "sw2.yaml": "5",
    "sw3.yaml": "method: random\nparameters: {a: {min: 3, max: 1}}" + METRIC,
    "sw4.yaml": "method: random\nparameters: {a: {values: []}}" + METRIC,
    "sw5.yaml": "method: random\nparameters: {a: {distribution: foo, min: 1, max: 2}}" + METRIC,
    "sw6.yaml": "method: bayes\nparameters: {a: {min: 0, max: 1, distribution: log_uniform_values}}" + METRIC,
    "sw7.yaml": "method: random\nparameters: {a: {value: 1}}\nmetric: {name: x, goal: maybe}\nrun_cap: -2",
    "sw8.yaml": "method: random\nparameters: [1]\nrun_cap: 2",
    "sw9.yaml": "method: random\nparameters: {a: 5}\nrun_cap: 2",
    "sw10.yaml": "method: random\nparameters: {a: {mu: 0, sigma: -1, distribution: normal}}\ncommand: 5" + METRIC,
}

BYTES = {
    "latin.txt": b"caf\xe9 a\n",
    "latin.yaml": b"model: '\xe9'\n",
    "binary.bin": bytes(range(256)) * 40,
    "x.gz": b"not gzip",
    "empty.ckpt": b"",
}


def make_files() -> None:
    """Write them into the working folder."""
    for name, text in TEXTS.items():
        Path(name).write_text(text)
    for name, content in BYTES.items():
        Path(name).write_bytes(content)
    Path("folder").mkdir()
    torch.save({"a": 1}, "other.ckpt")
    torch.save([1, 2], "list.ckpt")
    torch.save(torch.nn.Linear(2, 2), "pickled.ckpt")


def damage(checkpoint: Path) -> None:
    """Write what a stopped copy of the checkpoint would leave."""
    Path("cut.ckpt").write_bytes(checkpoint.read_bytes()[:3000])
