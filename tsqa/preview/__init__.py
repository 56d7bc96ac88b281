"""See before you pay: a preview of a few items, and what a run would cost."""
