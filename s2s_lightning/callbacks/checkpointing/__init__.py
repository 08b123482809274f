"""Checkpoints while a training runs, and the ways in which it ends."""
