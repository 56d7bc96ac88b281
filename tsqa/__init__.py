"""The spine of the harness (recipe, artifact, tracking, cli) and the synthetic data rooms."""

__version__ = "0.1.0"
