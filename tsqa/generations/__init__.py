"""Models that learn from models, generation after generation, and what that does to the text."""
