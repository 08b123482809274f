"""Attention maps, their curves, and their agreement with word alignments."""
