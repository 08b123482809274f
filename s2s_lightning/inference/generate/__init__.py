"""What stands between lines of text and ``Trained``: reading, cutting, batching, workers, formats, resumable files."""
