"""Gradients, updates, numbers that are not finite, and where the time goes."""
