"""Signals, ranks and nodes: several processes of one training, on one machine or on many."""
