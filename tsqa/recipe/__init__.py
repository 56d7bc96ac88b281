"""The recipe: one YAML per experiment, validated whole before any work starts.

Guarantees: an unknown key is refused with the nearest valid name; every error names file, line,
key, value and fix; a field marked `RUNTIME` never changes the data, and so no fingerprint.

Its modules, each importing only from those before it: `names` and `plain_yaml`; `base`; one per
section in the order of the stages, `seeds`, `models`, `generate`, `filter`, `audit`, `mixture`,
`train`, `evaluate`, `ablation`, `generations`, `launch`; `recipe`, which joins them; `ratios`,
`references`, `load` and `arms`, which make recipes; `provenance`, which reads them. All other code
imports what they offer from here.
"""

from tsqa.names import file_name, task_problem
from tsqa.plain_yaml import read_yaml
from tsqa.recipe.arms import Arm, arm_config, arms_of, control_of
from tsqa.recipe.load import load_recipe
from tsqa.recipe.provenance import SourceOrigin, check_floors, generation_shares, origins_of
from tsqa.recipe.ratios import rescale_ratios
from tsqa.recipe.recipe import (
    Recipe,
    TrackingSection,
    averaged_points,
    curve_points,
    needed,
    renderings_of,
    stream_check,
)
from tsqa.recipe.sections.ablation import Control, key_tails, named_values
from tsqa.recipe.sections.audit import (
    AuditSection,
    GradientsSection,
    NamesSection,
    SwapKind,
    SwapsSection,
)
from tsqa.recipe.sections.base import parse_count
from tsqa.recipe.sections.evaluate import EvalSection, ProtocolSection, read_suite
from tsqa.recipe.sections.filter import (
    CodeSection,
    DecontaminateSection,
    DedupSection,
    DifficultySection,
    FaithfulnessSection,
    FilterSection,
    LeakJudgeSection,
    ReviewSection,
    RewardSection,
    SemanticLeakSection,
    SemanticSection,
    TrivialitySection,
)
from tsqa.recipe.sections.generate import (
    CascadeSection,
    Enrichment,
    GenerateSection,
    PromptsSection,
    RephraseSection,
    SolverSection,
    Solving,
)
from tsqa.recipe.sections.generations import GenerationsSection, StopSection
from tsqa.recipe.sections.mixture import (
    BASIS_POINTS,
    PEOPLE,
    MixtureSection,
    NearestSection,
    SourceSection,
    is_hub_id,
)
from tsqa.recipe.sections.models import (
    ModelSection,
    RequestSection,
    SamplingSection,
    SentField,
    TeacherSection,
    check_base_url,
)
from tsqa.recipe.sections.seeds import (
    AnswerKind,
    BudgetSection,
    ColumnsSection,
    DataSection,
    DatasetSection,
    DocumentsSection,
    OwnSection,
    SeedsSection,
)
from tsqa.recipe.sections.train import RouterSection, ScheduleSection, TrainSection, check_divisible

__all__ = [
    "BASIS_POINTS",
    "PEOPLE",
    "AnswerKind",
    "Arm",
    "AuditSection",
    "BudgetSection",
    "CascadeSection",
    "CodeSection",
    "ColumnsSection",
    "Control",
    "DataSection",
    "DatasetSection",
    "DecontaminateSection",
    "DedupSection",
    "DifficultySection",
    "DocumentsSection",
    "Enrichment",
    "EvalSection",
    "FaithfulnessSection",
    "FilterSection",
    "GenerateSection",
    "GenerationsSection",
    "GradientsSection",
    "LeakJudgeSection",
    "MixtureSection",
    "ModelSection",
    "NamesSection",
    "NearestSection",
    "OwnSection",
    "PromptsSection",
    "ProtocolSection",
    "Recipe",
    "RephraseSection",
    "RequestSection",
    "ReviewSection",
    "RewardSection",
    "RouterSection",
    "SamplingSection",
    "ScheduleSection",
    "SeedsSection",
    "SemanticLeakSection",
    "SemanticSection",
    "SentField",
    "SolverSection",
    "Solving",
    "SourceOrigin",
    "SourceSection",
    "StopSection",
    "SwapKind",
    "SwapsSection",
    "TeacherSection",
    "TrackingSection",
    "TrainSection",
    "TrivialitySection",
    "arm_config",
    "arms_of",
    "averaged_points",
    "check_base_url",
    "check_divisible",
    "check_floors",
    "control_of",
    "curve_points",
    "file_name",
    "generation_shares",
    "is_hub_id",
    "key_tails",
    "load_recipe",
    "named_values",
    "needed",
    "origins_of",
    "parse_count",
    "read_suite",
    "read_yaml",
    "renderings_of",
    "rescale_ratios",
    "stream_check",
    "task_problem",
]
