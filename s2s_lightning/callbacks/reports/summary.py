"""Summary of the data and the model before training."""

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from s2s_lightning.model import Seq2Seq
from s2s_lightning.runs.trainer_queries import network, texts


class Summary(Callback):
    """Prints the data and the parameters before training."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        parts = parameters_by_part(network(pl_module))
        parameters = f"{sum(parts.values()):,}: " + ", ".join(f"{name} {count:,}" for name, count in parts.items())
        model = [("model", type(pl_module).__name__), ("parameters", parameters)]
        if frozen := sum(p.numel() for p in pl_module.parameters() if not p.requires_grad):
            model.append(("frozen parameters", f"{frozen:,}"))
        pl_module.print(table([*texts(trainer).summary(), *model]))


def parameters_by_part(model: Seq2Seq) -> dict[str, int]:
    """Return the number of parameters of each part."""
    return {part: sum(p.numel() for p in parameters) for part, parameters in parts_of(model).items()}


def parts_of(model: Seq2Seq) -> dict[str, list[nn.Parameter]]:
    """The parameters of each part; a tensor that several parts share belongs to the first of them."""
    parts = {
        "embeddings": nn.ModuleList([model.src_embedding, model.tgt_embedding]),
        "encoder": model.encoder,
        "decoder": model.decoder,
        "readout": model.readout,
    }
    owner = {p: name for name, part in reversed(parts.items()) for p in part.parameters()}
    return {name: [p for p, part in owner.items() if part == name] for name in parts}


def table(rows: list[tuple[str, str]]) -> str:
    """Two columns."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)
