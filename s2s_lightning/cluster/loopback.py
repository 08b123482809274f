"""Keeps the sockets of a training on one machine off the network.

The processes meet at a store of torch, a server without a key that listens on all interfaces, whatever its address: who
reaches it can read and write what the ranks tell each other. Where that address is a loopback one, all who may ask are
on this machine, and the server need listen on no other interface. Gloo's own sockets follow. Several nodes name
another address, and stay as they are.
"""

import os
import socket
from collections.abc import Sequence
from importlib import import_module
from ipaddress import ip_address
from typing import Any

from s2s_lightning.errors import UserError

ADDRESS = "127.0.0.1"
INTERFACES = ("lo", "lo0")
"""Names of the loopback interface, on Linux and on macOS."""

MODULES = (
    "torch.distributed.rendezvous",
    "torch.distributed.elastic.rendezvous.c10d_rendezvous_backend",
    "torch.distributed.elastic.rendezvous.static_tcp_rendezvous",
)
"""Modules of torch that make stores."""


def stay_on_this_machine() -> None:
    """Have torch's rendezvous make its stores by ``store``, here and in the agent of torchrun."""
    from torch.distributed.elastic.rendezvous import dynamic_rendezvous

    for name in MODULES:
        vars(import_module(name))["TCPStore"] = store
    handler = dynamic_rendezvous.DynamicRendezvousHandler
    handler._create_tcp_store_server = _shared_server  # type: ignore[method-assign,assignment]


def store(
    host_name: str, port: int, world_size: int | None = None, is_master: bool = False, *args: Any, **options: Any
) -> Any:
    """Return a TCPStore whose server, if it is this process's, listens on the loopback interface for such an address.

    Args:
        host_name: of the server.
        port: of the server; 0 is any free one.
        world_size: how many use it; None: any number.
        is_master: start the server.
        *args: of TCPStore, as the options are.
        **options: of TCPStore.

    Raises:
        UserError: the port is taken.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    address = loopback(host_name)
    if address is not None:
        gloo_too()
        if is_master:
            listener = _listener(address, port)
            port, options["master_listen_fd"] = listener.getsockname()[1], listener.detach()
    return TCPStore(host_name, port, world_size, is_master, *args, **options)


def loopback(host: str) -> str | None:
    """Return the loopback address that a host name stands for, or None where it stands for any other."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return None
    if not found or not all(ip_address(address.partition("%")[0]).is_loopback for address in found):
        return None
    return min(found, key=lambda address: ":" in address)


def gloo_too() -> None:
    """Tell gloo to take the loopback interface, where nobody has told it another."""
    names = [name for _, name in socket.if_nameindex()]
    if found := next((name for name in INTERFACES if name in names), None):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", found)


def local_arguments(args: Sequence[str]) -> list[str]:
    """Return the arguments of torchrun with the loopback address for a node that is the only one."""
    from torch.distributed.run import parse_args

    options = parse_args(list(args))  # type: ignore[no-untyped-call]
    host = options.rdzv_endpoint.rpartition(":")[0] or options.rdzv_endpoint
    alone = options.nnodes in ("1", "1:1") and host and loopback(host)
    if options.local_addr is None and (options.standalone or alone):
        return ["--local-addr", ADDRESS, *args]
    return list(args)


def _listener(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=1024)
    except OSError as error:
        raise UserError(
            f"port {port} of {address} cannot be had ({os.strerror(error.errno or 0)}): set MASTER_PORT to another"
        ) from error


def _shared_server(handler: Any, master_addr: str, master_port: int) -> Any:
    return store(master_addr, master_port, is_master=True, multi_tenant=True)
