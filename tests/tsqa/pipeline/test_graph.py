"""What the graph promises: fingerprints before work, shared stages, named mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from tsqa.errors import RecipeError
from tsqa.pipeline.graph import build_graph
from tsqa.pipeline.node import trained_node
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.store.roles import CheckedRole, PointRole

QUICKSTART = REPOSITORY / "recipes" / "quickstart" / "recipe.yaml"


def graph(*overrides: str):
    return build_graph(load_recipe(QUICKSTART, overrides), QUICKSTART)


def fingerprints(*overrides: str) -> dict[str, str]:
    return {f"{node.recipe.name}/{node.label}": node.fingerprint for node in graph(*overrides)}


def changed(*overrides: str) -> set[str]:
    before, after = fingerprints(), fingerprints(*overrides)
    return {
        label.split("/")[1].split(":")[0] for label in after if before.get(label) != after[label]
    }


def test_inputs_come_before_what_needs_them() -> None:
    seen: set[str] = set()
    for node in graph():
        assert {upstream.fingerprint for upstream in node.inputs.values()} <= seen
        seen.add(node.fingerprint)


def test_arms_share_everything_up_to_training() -> None:
    own = [node for node in graph() if node.recipe.name == "quickstart"]
    tokenized = [node.label for node in own if node.stage == "tokenize"]
    assert tokenized == ["tokenize:docs", "tokenize:synthetic"]
    assert len([node for node in own if node.stage == "train"]) == 3


def test_a_changed_key_changes_its_stage_and_what_follows_only() -> None:
    assert changed("filter.agreement=0.6") == {"filter", "tokenize", "train", "evaluate", "compare"}
    assert changed("train.lr=1e-3") == {"train", "evaluate", "compare"}
    assert changed("eval.confidence=0.9") == {"compare"}
    assert changed("train.processes=2", "train.checkpoint_every=7", "eval.batch_size=1") == set()
    assert changed("tracking.mode=disabled") == set()


def test_seeds_come_before_any_training() -> None:
    stages = [node.stage for node in graph()]
    assert stages.index("seeds") < stages.index("train")


def test_the_check_of_a_base_that_was_trained_on_seeds_reads_its_seeds(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text(
        f"extends: {QUICKSTART}\nname: seeded\nablation: null\nmodel: {{path: null, recipe: null, "
        'config: {model_type: nemotron_h}}\ntokenizer: {train_on: ["{data}/docs.jsonl"]}\n'
        "mixture: {sources: {synthetic: {from: seeds}}}\n"
    )
    nodes = graph(f"model.recipe={base}", "filter.agreement=0.7")
    compared = next(n for n in nodes if n.stage == "compare" and n.recipe.name == "quickstart")
    tokens = next(n for n in nodes if n.label == "tokenize:synthetic" and n.recipe.name == "seeded")
    [check] = [
        node
        for role, node in compared.inputs.items()
        if isinstance(role, CheckedRole) and node.label == "decontaminate:synthetic"
    ]
    assert check.inputs["seeds"] is tokens.inputs["seeds"]
    assert check.inputs["guard"] is tokens.inputs["guard"]
    assert check.config["renderings"] == tokens.config["renderings"]


@pytest.mark.parametrize("is_same", [True, False])
def test_synthetic_data_of_a_base_are_looked_through_unless_their_filter_did(
    is_same: bool, tmp_path: Path
) -> None:
    base = tmp_path / "base.yaml"
    base.write_text(
        f"extends: {QUICKSTART}\nname: made\nablation: null\nmodel: {{path: null, recipe: null, "
        'config: {model_type: nemotron_h}}\ntokenizer: {train_on: ["{data}/docs.jsonl"]}\n'
        + ("" if is_same else "eval: {tasks: [mini_day]}\n")
    )
    nodes = graph(f"model.recipe={base}", "filter.agreement=0.7")
    compared = next(n for n in nodes if n.stage == "compare" and n.recipe.name == "quickstart")
    tokens = next(n for n in nodes if n.label == "tokenize:synthetic" and n.recipe.name == "made")
    found = [
        node.inputs["filter"]
        for role, node in compared.inputs.items()
        if isinstance(role, CheckedRole) and node.label == "decontaminate:synthetic"
    ]
    assert found == ([] if is_same else [tokens.inputs["filter"]])


@pytest.mark.parametrize(
    "override",
    ["generate.votes=3", "generate.enrichment=[]", "generate.prompts.question=similar"],
)
def test_what_the_teacher_is_asked_changes_what_it_gives(override: str) -> None:
    assert "generate" in changed(override) and "seeds" not in changed(override)


def test_prices_and_limits_of_a_teacher_change_nothing() -> None:
    teacher = "generate.teacher"
    assert changed(f"{teacher}.dollars_per_hour=3", f"{teacher}.replicas=2") == set()


def test_every_teacher_of_the_filter_is_an_input_of_it() -> None:
    base = QUICKSTART.with_name("base.yaml")
    judge = f"filter.judge={{teacher: {{model: {{recipe: {base}}}}}}}"
    weak = f"filter.triviality={{teacher: {{model: {{recipe: {base}}}}}}}"
    filtered = next(node for node in graph(judge, weak) if node.stage == "filter")
    assert filtered.inputs["judge"].stage == filtered.inputs["weak"].stage == "train"
    assert {"filter", "tokenize", "train"} <= changed(judge)


def test_a_recipe_may_end_with_its_dataset(tmp_path: Path) -> None:
    path = tmp_path / "dataset.yaml"
    path.write_text(
        f"extends: {QUICKSTART}\nname: only-data\nmodel: null\nmixture: null\ntrain: null\n"
        "ablation: null\n"
    )
    own = [n.stage for n in build_graph(load_recipe(path), path) if n.recipe.name == "only-data"]
    assert own == ["data", "benchmarks", "seeds", "guard", "generate", "filter"]


@pytest.mark.parametrize(
    "path",
    sorted(
        path for path in QUICKSTART.parent.parent.glob("*/*.yaml") if path.parent.name != "suites"
    ),
    ids=lambda p: f"{p.parent.name}-{p.stem}",
)
def test_every_shipped_recipe_has_a_graph_or_says_which_file_is_missing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path.stem == "data":
        pytest.skip("only extended by others")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(QUICKSTART.parent.parent)
    if {path.parent.name, path.stem} & {"local", "documents"}:
        with pytest.raises(RecipeError, match=r"benchmarks/.* no such file"):
            build_graph(load_recipe(path), path)
    else:
        assert build_graph(load_recipe(path), path)


def test_an_unknown_arm_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"synthetic=0\.5"):
        trained_node(graph(), "synthetic=0.7")


@pytest.mark.parametrize("path", ["nowhere.jsonl", "no/where.txt.zst", "no/such/folder", "no/hub"])
def test_missing_data_are_refused_before_any_work(path: str) -> None:
    with pytest.raises(RecipeError, match=rf"mixture\.sources\.docs\.path = {path}: no such file"):
        fingerprints(f"mixture.sources.docs.path={path}")


def test_a_dataset_of_the_hub_is_known_by_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fingerprints("mixture.sources.docs={path: org/web, revision: 8f00d}")


def test_recipes_that_need_each_other_are_refused(tmp_path: Path) -> None:
    text = QUICKSTART.with_name("base.yaml").read_text().replace("data.yaml", str(
        QUICKSTART.with_name("data.yaml")))  # fmt: skip
    head, _, tail = text.partition("model:")
    body = tail[tail.index("mixture:") :]
    head += "tokenizer: null\n"  # a trained model has its own
    (tmp_path / "a.yaml").write_text(f"{head}model: {{recipe: b.yaml}}\n{body}")
    (tmp_path / "b.yaml").write_text(f"{head}model: {{recipe: a.yaml}}\n{body}")
    recipe = load_recipe(tmp_path / "a.yaml")
    with pytest.raises(RecipeError, match="circle"):
        build_graph(recipe, tmp_path / "a.yaml")


def test_a_task_data_file_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    data.write_text('{"question": "a", "answer": "b"}\n')
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "t.yaml").write_text(
        f"task: t\ndataset_path: json\ndataset_kwargs: {{data_files: {{train: {data}}}}}\n"
        "doc_to_text: !function utils.text\n"
    )
    before = fingerprints(f"seeds.include={tasks}")
    data.write_text('{"question": "c", "answer": "d"}\n')
    after = fingerprints(f"seeds.include={tasks}")
    assert before["quickstart/seeds"] != after["quickstart/seeds"]


def test_data_depends_on_what_is_evaluated_and_not_on_how_it_is_scored() -> None:
    assert changed("eval.num_fewshot=3", "eval.limit=7") == {"evaluate", "compare"}
    fewer = changed("eval.tasks=[mini_day]")
    assert fewer >= {"benchmarks", "guard", "filter", "decontaminate", "tokenize"}
    assert fewer.isdisjoint({"seeds", "generate"})
    unchecked = changed("mixture.decontaminate=false")
    assert "tokenize" in unchecked and "filter" not in unchecked


def test_the_evaluated_documents_are_made_once_and_read_by_whoever_keeps_apart_from_them() -> None:
    nodes = {node.label: node for node in graph()}
    readers = {label for label, node in nodes.items() if "benchmarks" in node.inputs}
    assert readers == {"guard", "filter", "decontaminate:docs", "decontaminate:skills"}
    unchecked = {node.label: node for node in graph("mixture.decontaminate=false")}
    assert "decontaminate" not in unchecked["tokenize:docs"].inputs


def test_how_a_task_is_asked_decides_the_scores_but_not_the_seeds() -> None:
    assert changed("eval.num_fewshot=3") == {"evaluate", "compare"}
    assert changed("eval.macros={both: [mini_day, mini_unit]}") == {"compare"}


def test_a_curve_adds_evaluations_that_nothing_else_waits_for() -> None:
    nodes = {node.label: node for node in graph("eval.every_tokens=150K")}
    curve = [label for label in nodes if "@" in label]
    assert len(curve) == 2 * 3  # 150K and 300K of 450K tokens, three arms
    point = nodes["evaluate:synthetic=0.5@150000"]
    assert point.inputs[PointRole(150_000)] is nodes["train:synthetic=0.5"]
    assert (point.arm, point.point) == ("synthetic=0.5", 150_000)
    assert point not in nodes["compare"].inputs.values()
    assert changed("eval.every_tokens=150K") == {"train", "evaluate", "compare"}
    with pytest.raises(RecipeError, match=r"every_tokens 1,000 is below train.global_batch_tokens"):
        graph("eval.every_tokens=1000")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("eval.tasks=[mini_dey]", "eval.tasks: unknown task 'mini_dey'.*\n.*one of mini_day"),
        ("seeds.tasks=[gsm8k]", "seeds.tasks: unknown task 'gsm8k' in {data}/tasks"),
        ("eval.include={data}/task", "eval.include = {data}/task: `data` makes no such file"),
        ("mixture.sources.docs.path={data}/doc.jsonl", "docs.path = .*use one of:.*docs.jsonl"),
        ("data=null", "{data}/tasks: the recipe has no section `data`"),
    ],
)
def test_what_the_data_stage_will_not_make_is_refused_before_it_runs(
    tmp_path: Path, override: str, message: str
) -> None:
    given = [f"runs={tmp_path}", override]
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        Pipeline(load_recipe(QUICKSTART, given), QUICKSTART, given).check()
    assert not (tmp_path / "artifacts" / "data").exists()


def test_what_base_and_teacher_were_trained_on_is_checked_for_what_is_compared() -> None:
    compared = next(node for node in graph() if node.stage == "compare")
    checks = [node for role, node in compared.inputs.items() if isinstance(role, CheckedRole)]
    looked = [(node.recipe.name, node.label) for node in checks if node.stage == "decontaminate"]
    # The base read the documents that the arms read: one check serves both.
    assert looked == [
        ("quickstart", "decontaminate:docs"),
        ("quickstart-teacher", "decontaminate:skills"),
    ]
    assert all("benchmarks" in node.inputs for node in checks)
    off = next(node for node in graph("mixture.decontaminate=false") if node.stage == "compare")
    assert [role.stage for role in off.inputs if isinstance(role, CheckedRole)] == ["filter"]
