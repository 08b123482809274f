"""Configurations: YAML files, the parser, and errors of both in one line."""
