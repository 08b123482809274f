"""Experiments of many runs: sweeps and seeds."""
