"""The folder of a run: its files, its lock, and what resumes in it."""
