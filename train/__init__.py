"""Pretraining: tokenize, mix, train, export."""
