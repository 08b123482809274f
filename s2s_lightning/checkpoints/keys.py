"""Keys of a checkpoint and of the configuration in it."""

from typing import Any

Config = dict[str, Any]
"""A configuration as YAML has it: mappings, lists, strings, numbers and null alone."""

CHECKPOINT_KEY = "s2s_lightning_config"
"""Key of a checkpoint -> the configuration of its run."""

SAVED_AT = "s2s_lightning_saved_at"
"""Key of a checkpoint -> the time of its writing, in seconds since 1970."""

AVERAGE_OF = "average_of"
"""Key of a checkpoint -> the checkpoints it is the average of, a mapping of path, step and epoch for each."""

PLACES = ("resume", "run", "wait")
"""Options that say where a run is and how it begins there; a repetition of the run is elsewhere."""

WAYS_TO_START = ("ckpt_path", "init_from")
"""Options that name the checkpoint a run started from; those that start from its own checkpoints do not need them."""

VOCABULARY_SIZES = ("src_vocab_size", "tgt_vocab_size")
"""Arguments of a model that the tokenizers give."""
