"""The stages, in the order in which they run. To add one: define it in its room, list it here."""

from __future__ import annotations

from eval.compare.definition import COMPARE
from eval.harness.definition import EVALUATE
from train.data.definition import TOKENIZER, decontaminate_stage, nearest_stage, tokenize_stage
from train.trainer.definition import TRAIN
from tsqa.filters.definition import FILTER
from tsqa.generate.definition import GENERATE
from tsqa.seeds.definition import BENCHMARKS, GUARD, SEEDS
from tsqa.tasks.definition import DATA

DATASET_STAGES = (DATA, BENCHMARKS, SEEDS, GUARD, GENERATE, FILTER)
"""Made once for all arms whose settings of these are equal."""
STAGES = (
    *DATASET_STAGES,
    TOKENIZER,
    decontaminate_stage("docs"),
    nearest_stage("docs"),
    tokenize_stage("docs"),
    TRAIN,
    EVALUATE,
    COMPARE,
)


def command_of(stage: str) -> str:
    """What a user types for a stage: `tsqa` and this."""
    return "eval" if stage == EVALUATE.name else stage
