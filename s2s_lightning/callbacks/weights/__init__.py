"""Weights and random numbers: averages, freezing, pretrained embeddings, dropout of tokens."""
