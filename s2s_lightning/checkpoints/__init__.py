"""Checkpoints: reading them, building their networks, averaging them."""
