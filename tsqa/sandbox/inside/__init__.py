"""What runs within the boundary; it needs the standard library alone."""
