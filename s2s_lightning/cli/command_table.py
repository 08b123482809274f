"""The commands, without the modules that do their work."""

COMMANDS = {
    "fit": ("s2s_lightning.cli.fit", "train a model, from one seed or from several (--seeds 1 2 3)"),
    "validate": ("s2s_lightning.cli.fit", "score a checkpoint on the validation split"),
    "test": ("s2s_lightning.cli.fit", "score a checkpoint on the test split"),
    "predict": ("s2s_lightning.cli.fit", "write a checkpoint's outputs for the test split"),
    "check": ("s2s_lightning.cli.commands.check", "test a model of your own: padding, causality, decoding, gradients"),
    "prepare": ("s2s_lightning.cli.commands.prepare", "make the tokenizers and ids that fit needs, without training"),
    "generate": ("s2s_lightning.cli.commands.generate", "text in, text out: one line for each line"),
    "score": ("s2s_lightning.cli.commands.score", "how probable a checkpoint finds given outputs"),
    "average": ("s2s_lightning.cli.commands.average", "one checkpoint of several, whose weights are their mean"),
    "compare": ("s2s_lightning.cli.commands.compare", "score outputs beside each other, with intervals and p-values"),
    "export": ("s2s_lightning.cli.commands.export", "a checkpoint for other programs: safetensors or CTranslate2"),
    "completion": ("s2s_lightning.cli.commands.completion", "a script by which a shell completes what is typed"),
    "sweep": ("s2s_lightning.cli.commands.sweep", "search settings on this machine or a cluster by a W&B sweep file"),
}
"""Name -> (module with ``run(command, args)``, one line of help)."""

USUAL_NAMES = {
    **dict.fromkeys(("train", "learn"), "fit"),
    **dict.fromkeys(("translate", "infer", "inference", "decode", "interactive"), "generate"),
    **dict.fromkeys(("eval", "evaluate"), "test"),
    **dict.fromkeys(("preprocess", "binarize"), "prepare"),
    **dict.fromkeys(("resume", "continue"), "fit --resume"),
    **dict.fromkeys(("tune", "search"), "sweep"),
    **dict.fromkeys(("convert", "save"), "export"),
}
"""The name of a command in other programs -> ours."""
