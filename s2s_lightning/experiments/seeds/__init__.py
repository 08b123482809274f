"""One configuration trained from several seeds, each a run of its own; nothing here needs torch."""
