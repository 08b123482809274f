"""Generation from lines of text: reading, cutting, batching, workers, formats, resumable files."""
