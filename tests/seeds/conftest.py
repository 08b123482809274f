"""Fixtures of the command line's tests."""

from tests.cli.conftest import config

__all__ = ["config"]
