"""Seeds: training splits of lm-eval tasks and own datasets, normalised, guarded, budgeted.

Guarantees: a source without a training split, or whose split is one that is evaluated, is refused
before it is read; a training document that is also an evaluated one is dropped and written
to `rejected_seeds.jsonl`; the choice of seeds is a pure function of the recipe and the data.
"""
