"""One thread a worker, so that the workers of pytest-xdist do not fight for the cores; one cache for the session.

Nothing is logged to W&B but where a test asks for it.
"""

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "disabled"  # tests/tracking/ switches it on


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the suite touches the user's own cache and key; workers share one."""
    root = tmp_path_factory.getbasetemp().parent / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("S2S_LIGHTNING_CACHE", str(root))
        patch.setenv("S2S_LIGHTNING_STATE", str(root.with_name("state")))
        yield


@pytest.fixture(autouse=True)
def place() -> Iterator[None]:
    """What Lightning tells the processes that it starts is not told to those that a later test starts."""
    names = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "PL_GLOBAL_SEED")
    before = {name: os.environ.get(name) for name in names}
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
