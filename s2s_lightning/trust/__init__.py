"""Names of classes in files: which may be imported."""
