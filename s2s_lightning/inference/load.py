"""Load a checkpoint, a run's folder or an exported folder as a model that generates."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch.utilities import rank_zero_info

from s2s_lightning.checkpoints.checkpoint import build, data_state, instantiate, read, stored_config
from s2s_lightning.data import Seq2SeqData
from s2s_lightning.decoding import Decoding
from s2s_lightning.files.run_checkpoints import checkpoint_in
from s2s_lightning.inference import quantization
from s2s_lightning.inference.trained import Trained
from s2s_lightning.tracking.record import say_changed
from s2s_lightning.trust import names


def load(
    path: str | Path,
    device: str | torch.device = "cpu",
    max_tokens: int = 4096,
    *,
    trust: Sequence[str] = (),
    dtype: Literal["float32", "bfloat16"] = "float32",
    quantize: Literal["int8"] | None = None,
) -> Trained:
    """A checkpoint, of the command line or of a Lightning Trainer with ``Seq2SeqData``, ready to generate.

    Args:
        path: the checkpoint, the folder of a run, whose best one is taken, or the folder that ``export`` made of one.
        device: where the network goes.
        max_tokens: source tokens of a batch, padding included.
        trust: modules that the file may name besides this package: they are imported, which runs their code.
        dtype: what the network computes in; log-probabilities are float32 at least.
        quantize: "int8" for 8-bit integer products of the linear layers, on the CPU; see ``quantization.quantize``.

    Raises:
        UserError: the file is missing, or is no checkpoint of this package; quantisation that cannot be.
    """
    names.trust(trust)
    path = Path(path).expanduser()
    checkpoint = read(path)
    module = build(checkpoint, path)
    say_changed(checkpoint_in(path))
    config = stored_config(checkpoint)
    if "decoding" in config:
        module.decoding = instantiate(config["decoding"], Decoding, "decoding")
    copy = data_state(checkpoint).get("copy", False)
    data = Seq2SeqData(tokenizers_from=str(path), max_tokens=max_tokens, copy=copy)
    lengths = data_state(checkpoint).get("lengths")
    data.take_lengths(lengths)
    if lengths is None and getattr(module.decoding, "follows_training", False):
        rank_zero_info(f"{path} keeps no lengths of its training: an output has at most min(2 s + 10, 500) tokens")
    quantization.check(dtype, quantize, torch.device(device))
    module = module.to(device, getattr(torch, dtype)).eval()
    quantized = None if quantize is None else quantization.quantize(module.model)
    return Trained(module, data, config, quantized)
