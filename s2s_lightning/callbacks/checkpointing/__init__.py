"""When checkpoints are written, and how a training ends."""
