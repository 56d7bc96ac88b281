"""A task is clean only where every tokenized ancestor was looked through for its documents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from eval.compare.contamination import contamination
from eval.compare.runs import _contamination as of_runs
from eval.deltas import Contamination
from eval.harness import stage as harness
from eval.results import DOCUMENTS, Document
from tests.support.curated_rows import rejected_row
from tests.support.generation import make_seed
from tsqa.curated.files import DatasetWriter
from tsqa.store.artifact import Artifact, Store

SPLIT = {"subset": None, "split": "train", "text_field": "text"}


class World:
    """A store with a base, a control and an arm, trained on the sources that a test names."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root / "artifacts")
        self.benchmarks("benchmarks", "x", {"day": 4, "unit": 2})
        self.benchmarks("others", "y", {"day": 4, "unit": 2})
        self.benchmarks("dayonly", "x", {"day": 4})

    def benchmarks(
        self, name: str, include: str, tasks: Mapping[str, int], **fields: Sequence[str]
    ) -> None:
        """Documents that ask each something of its own, but for `fields`, one value for each."""
        lines = []
        for task, count in tasks.items():
            for number in range(count):
                own = {"question": f"Which {task} is number {number}?", "context": ""}
                own |= {key: values[len(lines)] for key, values in fields.items()}
                ids = {"id": f"{task}-{number}", "task": task, "doc_id": number, "choices": []}
                lines.append(json.dumps(asdict(make_seed(0)) | ids | own))
        with self.store.working_directory("benchmarks", name) as partial:
            (partial / "documents.jsonl").write_text("".join(f"{line}\n" for line in lines))
            summary = {"by_task": {**tasks}}
            self.store.commit(partial, "benchmarks", name, {"include": include}, {}, summary)

    def put(
        self,
        stage: str,
        name: str,
        config: Mapping[str, object] | None = None,
        inputs: Mapping[str, str] | None = None,
        summary: Mapping[str, object] | None = None,
    ) -> Artifact:
        with self.store.working_directory(stage, name) as partial:
            return self.store.commit(
                partial, stage, name, config or {}, inputs or {}, summary or {}, ()
            )

    def check(
        self,
        name: str,
        path: str,
        held: Sequence[str] = (),
        benchmarks: str = "benchmarks",
        **rules: float,
    ) -> Artifact:
        """A check of the file `path`, in which it found these documents, `a b` in one text."""
        with self.store.working_directory("decontaminate", name) as partial:
            lines = [
                json.dumps(
                    {
                        "text": f"text of {one}",
                        "reason": f"ngram of the evaluated {one.split()[0]}",
                        **({"documents": one.split()} if " " in one else {}),
                    }
                )
                for one in held
            ]
            (partial / "dropped.jsonl").write_text("".join(f"{line}\n" for line in lines))
            inputs, config = {"benchmarks": benchmarks}, {**SPLIT, "path": path, **rules}
            return self.store.commit(partial, "decontaminate", name, config, inputs, {})

    def filtered(self, name: str, held: Sequence[str], teacher: str, **rules: float) -> Artifact:
        self.put("generate", f"generate-{name}", inputs={"teacher": teacher})
        with self.store.working_directory("filter", name) as partial:
            with DatasetWriter(partial) as writer:
                writer.rejected(rejected_row(0, step="dedup", match="day-1"))
                for number, match in enumerate(held, start=1):
                    step = ("meaning", "guard", "decontamination")[number % 3]
                    writer.rejected(rejected_row(number, step=step, match=match))
            inputs = {"generate": f"generate-{name}", "benchmarks": "benchmarks"}
            config = {"decontaminate": rules} if rules else {}
            return self.store.commit(partial, "filter", name, config, inputs, {})

    def trained(self, name: str, sources: Mapping[str, str], base: str = "") -> str:
        """A model on sources: name -> path, `path<check` where a check's findings are left out,
        or `<filter` for a dataset."""
        inputs = {"model": base} if base else {}
        for source, origin in sources.items():
            path, _, left_out = origin.partition("<")
            role = "decontaminate" if path else "filter"
            config = {**SPLIT, "path": path} if path else {}
            made_from = {role: left_out} if left_out else {}
            inputs[f"tokens:{source}"] = f"{name}-{source}"
            self.put("tokenize", f"{name}-{source}", config, made_from)
        self.put("train", name, inputs=inputs)
        return name

    def evaluated(
        self, name: str, model: str, day: Sequence[float], leaks: Sequence[Mapping[str, str]] = ()
    ) -> Artifact:
        """Four documents of `day`, the last a copy of the first; two of `unit`, both wrong."""
        hashes = ["h0", "h1", "h2", "h0"]
        documents = [
            Document(task, i, f"{task} {hashes[i]}", "acc", score, "q", "a", "a")
            for task, scores in {"day": day, "unit": [0.0, 0.0]}.items()
            for i, score in enumerate(scores)
        ]
        with self.store.working_directory("evaluate", name) as partial:
            harness._write_documents(partial / DOCUMENTS, documents)
            summary = {"allowed_leaks": list(leaks)} if leaks else {}
            return self.store.commit(
                partial, "evaluate", name, {"include": "x"}, {"model": model}, summary, ()
            )

    def found(
        self,
        checks: Sequence[Artifact],
        base: str = "",
        control: str = "",
        arm: str = "",
        leaks: Sequence[Mapping[str, str]] = (),
    ) -> dict[str, Contamination]:
        """What is found of the models `base`, `control` and `arm`, each under one seed."""
        conditions = {}
        scores = {"base": (base, [0, 0, 1, 0]), "c": (control, [1, 0, 0, 1]), "x": (arm, [1] * 4)}
        for name, (model, day) in scores.items():
            if model:
                conditions[name] = [self.evaluated(f"e-{name}", model, day, leaks)]
        return contamination(conditions, checks)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_source_that_one_check_looked_through_is_clean_in_every_model(world: World) -> None:
    check = world.check("d", "docs.jsonl")
    base = world.trained("base", {"docs": "docs.jsonl"})  # its recipe evaluates nothing
    control = world.trained("control", {"docs": "docs.jsonl<d"}, base)
    arm = world.trained("arm", {"docs": "docs.jsonl<d"}, base)
    day = world.found([check], base, control, arm)["day"]
    assert (day.status, day.told, day.unchecked, day.n_clean) == ("clean", "clean", [], 4)
    assert day.checked == ["base/docs", "docs"]


@pytest.mark.parametrize("rules", [{"ngram": 200}, {"similarity": 0.99}])
def test_what_weaker_rules_looked_through_is_said_to_be_clean_by_these(
    world: World, rules: dict[str, float]
) -> None:
    weak = world.check("weak", "docs.jsonl", **rules)
    control = world.trained("control", {"docs": "docs.jsonl<weak"})
    teacher = world.trained("teacher", {"docs": "docs.jsonl<weak"})
    filtered = world.filtered("f", [], teacher, **rules)
    arm = world.trained("arm", {"docs": "docs.jsonl<weak", "synthetic": "<f"})
    day = world.found([weak, filtered], "", control, arm)["day"]
    assert (day.status, day.weakly) == ("clean", day.checked)
    assert {"docs", "x/synthetic"} <= {*day.weakly}
    assert day.told == f"clean; by weaker rules than the defaults: {', '.join(day.weakly)}"


def test_a_source_that_the_usual_rules_looked_through_too_is_clean(world: World) -> None:
    checks = [world.check(f"n{n}", "docs.jsonl", ngram=n) for n in (200, 13)]
    control = world.trained("control", {"docs": "docs.jsonl<n200"})
    assert world.found(checks, "", control)["day"].told == "clean"


def test_a_base_that_was_trained_on_the_test_split_is_not_clean(world: World) -> None:
    held = world.check("held", "docs.jsonl", ["day-0", "day-1", "unit-0"])
    base = world.trained("base", {"docs": "docs.jsonl"})
    control = world.trained("control", {"docs": "docs.jsonl<held"}, base)
    found = world.found([held], base, control)
    day = found["day"]
    assert (day.status, day.trained_on, day.documents) == ("trained_on", {"base/docs": 3}, 3)
    assert day.told == "trained on (3 documents) in base/docs"
    assert day.score_clean == {"base": 1.0, "c": 0.0}  # day-2 alone: day-3 is a copy of day-0
    assert found["unit"].trained_on == {"base/docs": 1}


def test_a_base_in_which_nothing_looked_is_named(world: World) -> None:
    check = world.check("d", "docs.jsonl")
    base = world.trained("base", {"old": "old.jsonl"})
    control = world.trained("control", {"docs": "docs.jsonl<d"}, base)
    day = world.found([check], base, control)["day"]
    assert (day.status, day.told) == ("not_checked", "not checked: base/old")
    assert day.n_clean is None and day.score_clean == {"base": None, "c": None}


def test_an_arm_that_is_not_decontaminated_is_not_clean(world: World) -> None:
    """With `mixture.decontaminate: false` in an arm, another arm's check says what it held."""
    base = world.trained("base", {})
    kept = world.trained("kept", {"docs": "docs.jsonl"}, base)
    assert world.found([], control=kept)["day"].told == "not checked: c/docs"
    check = world.check("d", "docs.jsonl", ["day-1"])
    clean = world.trained("clean", {"docs": "docs.jsonl<d"}, base)
    found = contamination(
        {
            "c": [world.evaluated("1", clean, [1, 1, 1, 1])],
            "x": [world.evaluated("2", kept, [0, 1, 0, 0])],
        },
        [check],
    )
    assert (found["day"].status, found["day"].trained_on) == ("trained_on", {"x/docs": 1})
    assert found["unit"].status == "clean"


def test_what_was_left_out_is_touched_and_its_copy_leaves_the_clean_score(world: World) -> None:
    check = world.check("d", "docs.jsonl", ["day-0"])
    control = world.trained("control", {"docs": "docs.jsonl<d"})
    found = world.found([check], control=control)
    assert found["day"].told == "touched (2 documents)"
    assert found["day"].score_clean == {"c": 0.0} and found["unit"].status == "clean"


@pytest.mark.parametrize(("benchmarks", "unit"), [("dayonly", "day"), ("others", "none")])
def test_a_check_counts_for_the_documents_that_it_looked_for(
    world: World, benchmarks: str, unit: str
) -> None:
    check = world.check("d", "docs.jsonl", benchmarks=benchmarks)
    control = world.trained("control", {"docs": "docs.jsonl<d"})
    found = world.found([check], control=control)
    clean = [task for task, one in found.items() if one.status == "clean"]
    assert clean == ([unit] if unit == "day" else [])
    assert found["unit"].told == "not checked: c/docs"


def test_candidates_and_the_data_of_their_teacher_are_ancestors(world: World) -> None:
    teacher = world.trained("teacher", {"skills": "skills.jsonl"})
    dataset = world.filtered("f", ["day-0"], teacher)
    arm = world.trained("arm", {"synthetic": "<f"})
    found = world.found([dataset], arm=arm)
    assert found["day"].told == "touched (2 documents); not checked: teacher/skills"
    assert found["unit"].told == "not checked: teacher/skills"
    check = world.check("d", "skills.jsonl", ["unit-1"])
    evaluation = world.store.find("evaluate", "e-x")
    assert evaluation is not None
    again = contamination({"x": [evaluation]}, [dataset, check])
    assert (again["day"].status, again["day"].unchecked) == ("touched", [])
    assert again["unit"].told == "trained on (1 document) in teacher/skills"


def test_what_was_made_from_an_evaluated_document_or_repeats_one_is_touched(world: World) -> None:
    dataset = world.filtered("f", ["day-0", "day-1", "unit-1"], world.trained("teacher", {}))
    found = world.found([dataset], arm=world.trained("arm", {"synthetic": "<f"}))
    told = ["touched (3 documents)", "touched (1 document)"]
    assert [found[task].told for task in ("day", "unit")] == told


def test_an_ancestor_that_is_gone_is_not_taken_for_clean(world: World) -> None:
    check = world.check("d", "docs.jsonl")
    control = world.trained("control", {"docs": "docs.jsonl<d"}, base="gone")
    day = world.found([check], control=control)["day"]
    assert day.status == "not_checked" and "train gone, which is not here" in day.told


def test_an_allowed_leak_is_named_by_the_task_that_it_reaches(world: World) -> None:
    leak = {"task": "other", "reason": "its training split (train) is evaluated by day"}
    check = world.check("d", "docs.jsonl", ["day-0"])
    control = world.trained("control", {"docs": "docs.jsonl<d"})
    found = world.found([check], control=control, leaks=[leak])
    assert (found["day"].status, found["unit"].status) == ("allowed_leak", "clean")
    assert found["day"].n_clean is None


def test_a_check_of_other_seeds_says_nothing_of_these(world: World) -> None:
    config = {**SPLIT, "path": None, "renderings": ["r"]}
    made = {"seeds": world.put("seeds", "s1").fingerprint, "guard": "g1"}
    world.put("tokenize", "m-own", config, made)
    world.put("train", "m", inputs={"tokens:own": "m-own"})
    for name, changes in (
        ("other seeds", {"seeds": "s2"}),
        ("other guard", {"guard": "g2"}),
        ("the same", {}),
    ):
        inputs = {"benchmarks": "benchmarks", **made, **changes}
        with world.store.working_directory("decontaminate", name) as partial:
            (partial / "dropped.jsonl").write_text("")
            check = world.store.commit(partial, "decontaminate", name, config, inputs, {})
        found = contamination({"c": [world.evaluated(f"e-{name}", "m", [1] * 4)]}, [check])
        assert found["day"].status == ("not_checked" if changes else "clean")


def test_a_text_that_holds_documents_of_several_tasks_touches_them_all(world: World) -> None:
    check = world.check("d", "docs.jsonl", ["day-1 unit-0 unit-1"])
    control = world.trained("control", {"docs": "docs.jsonl<d"})
    found = world.found([check], control=control)
    told = ["touched (1 document)", "touched (2 documents)"]
    assert [found[task].told for task in ("day", "unit")] == told


@pytest.mark.parametrize("shared", ["question", "context"])
def test_what_is_found_of_one_prompt_of_a_benchmark_is_found_of_the_other(
    shared: str, world: World
) -> None:
    """A check names one of documents that are the same, or of those that ask about a passage."""
    texts = [
        f"{n} of the {shared}s that nothing else is like, as can be seen" for n in (0, 1, 2, 3)
    ]
    own = {shared: [*texts, texts[2], texts[1]]}
    world.benchmarks("prompts", "x", {"day": 4, "unit": 2}, **own)
    check = world.check("d", "docs.jsonl", ["day-2"], benchmarks="prompts")
    control = world.trained("control", {"docs": "docs.jsonl"})
    found = world.found([check], control=control)
    assert found["unit"].trained_on == {"c/docs": 1} and found["unit"].n_clean == 1
    assert found["day"].documents == 1


def test_a_general_question_with_other_options_is_another_document(world: World) -> None:
    question = "Which of these statements about the matter at hand is the correct one here?"
    world.benchmarks("general", "x", {"day": 4, "unit": 2}, question=[question] * 6,
                     choices=[[f"a{n}", f"b{n}"] for n in range(6)])  # fmt: skip
    check = world.check("d", "docs.jsonl", ["day-2"], benchmarks="general")
    control = world.trained("control", {"docs": "docs.jsonl<d"})
    found = world.found([check], control=control)
    assert (found["day"].documents, found["unit"].status) == (1, "clean")


def test_two_bases_whose_sources_have_one_name_are_counted_together(world: World) -> None:
    checks = [
        world.check("a", "a.jsonl", ["day-1", "day-2"]),
        world.check("b", "b.jsonl", ["day-1"]),
    ]
    models = {
        arm: world.trained(arm, {}, world.trained(f"base-{arm}", {"docs": f"{file}.jsonl"}))
        for arm, file in (("c", "a"), ("x", "b"))
    }
    evaluated = {arm: [world.evaluated(f"e{arm}", model, [1] * 4)] for arm, model in models.items()}
    day = contamination(evaluated, checks)["day"]
    assert day.told == "trained on (2 documents) in base/docs"
    assert day.trained_on == {"base/docs": 2}


def test_a_dataset_that_looked_for_something_else_is_clean_where_it_was_looked_through_again(
    world: World,
) -> None:
    """Synthetic items of a base: its own filter looked for what its own recipe evaluates."""
    dataset = world.filtered("f", [], world.trained("teacher", {}))
    base = world.trained("base", {"synthetic": "<f"})
    control = world.trained("control", {"docs": "docs.jsonl<d"}, base)
    looked = world.check("d", "docs.jsonl")
    elsewhere = replace(dataset, manifest=dataset.manifest.model_copy(update={
        "inputs": {"generate": "generate-f", "benchmarks": "others"}}))  # fmt: skip
    assert world.found([looked, elsewhere], control=control)["day"].told == (
        "not checked: base/synthetic"
    )
    with world.store.working_directory("decontaminate", "again") as partial:
        line = {"text": "t", "reason": "ngram of the evaluated day-1", "documents": ["day-1"]}
        (partial / "dropped.jsonl").write_text(json.dumps(line))
        inputs = {"filter": "f", "benchmarks": "benchmarks"}
        again = world.store.commit(partial, "decontaminate", "again", {}, inputs, {})
    evaluation = world.store.find("evaluate", "e-c")
    assert evaluation is not None
    found = contamination({"c": [evaluation]}, [looked, elsewhere, again])
    assert found["day"].told == "trained on (1 document) in base/synthetic"
    assert found["unit"].told == "clean"


def test_a_leak_that_was_found_by_content_reaches_the_tasks_whose_documents_it_holds(
    world: World,
) -> None:
    leak = {"task": "own", "reason": "3 of its documents are evaluated", "evaluated": ["unit"]}
    check = world.check("d", "docs.jsonl")
    control = world.trained("control", {"docs": "docs.jsonl<d"})
    found = world.found([check], control=control, leaks=[leak])
    assert {task: one.status for task, one in found.items()} == {
        "day": "clean",
        "unit": "allowed_leak",
    }


def test_a_leak_of_a_model_that_is_not_compared_reaches_none(world: World) -> None:
    leaks = {"allowed_leaks": [{"task": "day", "reason": "the split it is evaluated on"}]}
    world.put("filter", "foreign", inputs={"benchmarks": "benchmarks"}, summary=leaks)
    world.check("d", "docs.jsonl")
    control = world.trained("control", {"docs": "docs.jsonl<d"})
    found = of_runs({"c": [world.evaluated("1", control, [1] * 4)]})
    assert found["day"].told == "clean"
    # That of an ancestor does.
    world.put("tokenize", "base-docs", {**SPLIT, "path": "docs.jsonl"}, summary=leaks)
    world.put("train", "base", inputs={"tokens:docs": "base-docs"})
    arm = world.trained("arm", {"docs": "docs.jsonl<d"}, "base")
    found = of_runs({"x": [world.evaluated("2", arm, [1] * 4)]})
    assert (found["day"].status, found["unit"].status) == ("allowed_leak", "clean")
