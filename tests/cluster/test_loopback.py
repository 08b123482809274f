"""The sockets of a training on one machine listen on its loopback interface alone."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from s2s_lightning.cluster import loopback
from s2s_lightning.cluster.slurm_environment import Slurm
from s2s_lightning.errors import UserError

pytestmark = pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="sockets are looked up in /proc")

LISTENING = "0A"
LOCAL = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def listening() -> set[str]:
    """Return the addresses on which this process listens, as the kernel writes them."""
    links = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    own = {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:[")}
    rows = [
        row.split() for name in ("tcp", "tcp6") for row in Path("/proc/self/net", name).read_text().splitlines()[1:]
    ]
    return {row[1].split(":")[0] for row in rows if row[3] == LISTENING and row[9] in own}


@pytest.fixture
def _patched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("GLOO_SOCKET_IFNAME", "MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    loopback.stay_on_this_machine()
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


@pytest.mark.usefixtures("_patched")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_process_group_of_one_machine_listens_on_loopback_alone(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    before = listening()
    settings = {"MASTER_ADDR": host, "MASTER_PORT": str(free_port()), "RANK": "0", "WORLD_SIZE": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    distributed.init_process_group("gloo")
    distributed.all_reduce(torch.ones(1))
    assert listening() - before
    assert listening() - before <= LOCAL


def free_port() -> int:
    """Return the port of a server that has ended."""
    return int(TCPStore("127.0.0.1", 0, is_master=True).port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_two_meet_at_a_store_that_only_this_machine_sees(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    server = loopback.store(host, 0, is_master=True)
    client = loopback.store(host, server.port)
    server.set("key", "value")
    assert client.get("key") == b"value"
    with pytest.raises(UserError, match="set MASTER_PORT to another"):
        loopback.store(host, server.port, is_master=True)


def test_other_addresses_are_left_as_they_are() -> None:
    assert loopback.loopback("192.0.2.1") is None
    assert loopback.loopback("no-such-host.invalid") is None
    before = listening()
    server = loopback.store("0.0.0.0", 0, is_master=True)
    assert listening() - before - LOCAL
    del server


def test_gloo_keeps_an_interface_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "chosen")
    loopback.gloo_too()
    assert os.environ["GLOO_SOCKET_IFNAME"] == "chosen"


@pytest.mark.parametrize(
    ("args", "local"),
    [
        ("--standalone x.py", True),
        ("--nnodes 1 --rdzv-backend c10d --rdzv-endpoint localhost:0 x.py", True),
        ("--nnodes 2 --rdzv-backend c10d --rdzv-endpoint localhost:0 x.py", False),
        ("--nnodes 1:2 --rdzv-backend c10d --rdzv-endpoint 192.0.2.1:29500 x.py", False),
        ("--standalone --local-addr 192.0.2.1 x.py", False),
    ],
)
def test_a_lone_node_of_torchrun_meets_on_loopback(args: str, local: bool) -> None:
    given = args.split()
    assert loopback.local_arguments(given) == (["--local-addr", "127.0.0.1"] if local else []) + given


def test_a_job_of_one_node_meets_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setenv("SLURM_NNODES", "1")
    assert Slurm().main_address == "127.0.0.1"
    monkeypatch.setenv("SLURM_NNODES", "2")
    monkeypatch.setenv("SLURM_NODELIST", "node[3-4]")
    assert Slurm().main_address == "node3"
