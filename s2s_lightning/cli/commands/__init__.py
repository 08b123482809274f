"""The commands beside Lightning's own: one file each, with ``run(command, args)``."""
