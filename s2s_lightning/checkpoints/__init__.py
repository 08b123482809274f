"""Checkpoints: what is read from them, and what of it may be used."""
