"""A network cut in pieces, one a rank: fully sharded data parallel training (FSDP2)."""

from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from s2s_lightning.model import Seq2Seq

ENTRANCES = ("start", "scores", "cross_entropy")
"""The methods of a network, beside ``forward``, that read weights which are neither encoder's nor decoder's.

None calls another: the inner one would give the weights back, and the outer one once more.
"""


def shard(network: Seq2Seq, mesh: DeviceMesh) -> None:
    """Keep a part of each parameter, of its gradient and of the optimizer's state on each rank of the mesh.

    Encoder, decoder, and the rest with the embeddings and the readout, which may share a matrix, are gathered one after
    the other when they are called: no layer need be known. Every rank must make the same calls.
    """
    if isinstance(network, FSDPModule):
        return
    for part in (network.encoder, network.decoder):
        fully_shard(part, mesh=mesh)
    register_fsdp_forward_method(network.decoder, "start")
    fully_shard(network, mesh=mesh)
    for name in ENTRANCES:
        register_fsdp_forward_method(network, name)
