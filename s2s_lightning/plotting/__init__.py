"""Matrices and lines as pictures."""
