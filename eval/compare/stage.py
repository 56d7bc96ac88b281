"""The stage compare: evaluations of every arm in, deltas.json and deltas.csv out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eval.compare.comparison import compare
from eval.compare.contamination import conditions_of, of_recipe, unseen_notes
from eval.compare.ratio_axis import RatioAxis, ratio_axis
from eval.compare.scores import Evaluated, read
from eval.compare.tables import write_csv
from eval.deltas import DELTAS, Contamination, DeltaTable, Gap
from eval.harness.groups import stems_notes
from eval.harness.stage import expand_macros
from eval.lineage.families import Kinship, kinship
from eval.lineage.nearest import Nearness, nearness
from eval.statistics import stats
from eval.statistics.looks import looks_note
from tsqa.decontaminate.semantic import Embedder, open_embedder
from tsqa.recipe import Recipe, arms_of, control_of, curve_points, needed
from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import write_json
from tsqa.store.own_files import read_own
from tsqa.store.roles import BASE, ArmRole
from tsqa.store.stage import StageContext


def run(context: StageContext) -> dict[str, object]:
    """Write deltas.json and deltas.csv from the evaluations of the base (optional) and the arms."""
    recipe = context.recipe
    arms, models = arms_of(recipe), []
    if BASE in context.inputs:
        models.append(read(BASE, context.inputs[BASE]))
    missing = [name for name in arms if ArmRole(name) not in context.inputs]
    for name, arm in arms.items():
        if name not in missing:
            artifact = context.inputs[ArmRole(name)]
            models.append(read(name, artifact, arm.condition, arm.seed))
    conditions = conditions_of(recipe, context.inputs)
    deltas = compare_arms(
        recipe,
        models,
        list(context.inputs.values()),
        gaps={name: Gap(arms[name].condition, "not evaluated") for name in missing},
        axis=ratio_axis(recipe),
        contamination=of_recipe(recipe, context.inputs),
        notes=unseen_notes(conditions),
        kin=kinship(conditions, models[0].tasks, recipe.seeds.families if recipe.seeds else {}),
        near=nearness(conditions, _embedder(context)),
    )
    write_json(context.out / DELTAS, deltas.to_json())
    write_csv(context.out / "deltas.csv", deltas.all_rows)
    columns = list(vars(deltas.rows[0]))
    context.tracker.table("deltas", columns, [list(vars(row).values()) for row in deltas.all_rows])
    for name, rows in (("bits", deltas.bits), ("right_choice", deltas.right_choice)):
        if rows:
            context.tracker.table(name, columns, [list(vars(row).values()) for row in rows])
    verdicts = [row.verdict for row in deltas.rows]
    return {
        "comparisons": len(deltas.comparisons),
        "rows": len(verdicts),
        **{word.replace(" ", "_"): verdicts.count(word) for word in stats.VERDICTS},
        "conclusion": deltas.conclusion,
    }


def _embedder(context: StageContext) -> Embedder | None:
    """The model by which the recipe compares evaluated documents, if it has one."""
    section = context.recipe.filter
    if section is None or section.semantic_leaks is None:
        return None
    return open_embedder(section, context.out)


def compare_arms(
    recipe: Recipe,
    models: Sequence[Evaluated],
    evaluations: Sequence[Artifact],
    *,
    gaps: Mapping[str, Gap] | None = None,
    axis: RatioAxis | None = None,
    contamination: Mapping[str, Contamination] | None = None,
    notes: Sequence[str] = (),
    kin: Kinship | None = None,
    near: Nearness | None = None,
) -> DeltaTable:
    """Compare arms by the rules of the recipe; `evaluations` are what `models` were read from."""
    section = needed(recipe.eval, "eval")
    return compare(
        models,
        control=control_of(recipe),
        bootstrap=section.bootstrap,
        confidence=section.confidence,
        seed=recipe.seed,
        macros=expand_macros(section.macros, evaluations),
        gaps=gaps,
        axis=axis,
        contamination=contamination,
        seed_spread=None if section.seed_spread is None else section.seed_spread / 100,
        by_documents=section.macro == "documents",
        limit=section.limit,
        notes=[*looks_notes(recipe), *stems_notes(evaluations), *notes],
        kinship=kin,
        near=near,
    )


def looks_notes(recipe: Recipe) -> list[str]:
    """What the points of the curves along the training cost, where there are some."""
    section = needed(recipe.eval, "eval")
    points = max((len(curve_points(arm.recipe)) for arm in arms_of(recipe).values()), default=0)
    return [looks_note(points + 1, section.confidence)] if points else []


def read_deltas(artifact: Artifact) -> DeltaTable:
    """The table of a compare artifact."""
    return read_own(artifact.path / DELTAS, DeltaTable)
