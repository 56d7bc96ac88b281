"""Scores with lm-eval, paired statistics, comparison of the arms, and the HTML report."""
