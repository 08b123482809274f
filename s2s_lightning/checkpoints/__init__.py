"""Files of a training that others may have made: which names in them are looked up, and which files are one's own."""
