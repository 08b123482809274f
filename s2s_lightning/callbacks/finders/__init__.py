"""finders."""
