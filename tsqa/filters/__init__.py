"""The filters, in a fixed visible order: each a small pure function with a named reason."""
