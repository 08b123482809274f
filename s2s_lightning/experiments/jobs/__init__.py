"""Processes that sweeps and seeds share."""
