"""Versions of a dataset: named, immutable, with hashes, licences and lineage; see the README."""
