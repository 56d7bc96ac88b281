"""Tries: inputs that are wrong in one way each, and how each must end (tests/README.md)."""
