"""A trained model at work: search, scores, generation, export."""
