"""Several processes of one training, on one machine or on many."""
