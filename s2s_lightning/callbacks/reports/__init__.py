"""Metrics, progress, pictures and samples of a run."""
