"""The run of the command line's tests, for the pages that begin with one."""

from tests.cli.conftest import config, trained

__all__ = ["config", "trained"]
