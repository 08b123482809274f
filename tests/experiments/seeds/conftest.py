"""Fixtures of the command line's tests."""

from tests.cli.conftest import config, trained

__all__ = ["config", "trained"]
