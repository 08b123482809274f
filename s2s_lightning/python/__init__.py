"""Trainers of Python programs."""
