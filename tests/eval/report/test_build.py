"""Self-contained, escaped, complete, and the same page every time."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from eval.deltas import AxisFit, Contamination, DeltaTable, FitPoint, Gap
from eval.report import about, dataset, figures
from eval.report import build as report
from eval.report.about import PageOrigin
from eval.report.comparison import CHOSEN_ARMS
from eval.statistics import stats
from tests.support import page_world
from tests.support.curated_rows import candidate, curated_row, rejected_row
from tests.support.invented_arms import deltas_of, evaluated
from tests.support.sealed import invented_artifact
from tsqa.curated.files import DatasetWriter
from tsqa.recipe import Recipe, arms_of
from tsqa.recipe.sections.ablation import AblationSection
from tsqa.store.jsonl import write_jsonl

EVIL = '<script>alert("x")</script> & </pre> {{ 7 * 7 }}'
CONTROL, LOW, HIGH = "synthetic=0.0", "synthetic=0.1", "synthetic=0.25"
LEDGER = {
    "teacher": "teacher",
    "model": "small-7b",
    "requests": 400,
    "prompt_tokens": 91_000,
    "output_tokens": 42_000,
    "engine_seconds": 18.0,
    "dollars": 0.01,
}
FAILED = "synthetic=0.5,seed=2"
EARLIER, FINISHED = "2026-01-31T12:00:00Z", "2026-01-31T13:04:05Z"
COVERAGE = ("task", "capability", "available", "planned", "chosen")
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks nesting, and collects what a browser would load and show."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.resources: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self.pieces: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")
        self.resources += [v for k, v in attrs if k in ("src", "href", "data", "srcset") and v]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not self.open or self.open[-1] != "style":
            self.text += data
            self.pieces += data.split()


def make_recipe() -> Recipe:
    return page_world.make_recipe([0.0, 0.1, 0.25], [])


def make_deltas() -> DeltaTable:
    rates = {"arithmetic_add": 0.22, "unit": 0.4, "opposite": 0.35, "month": 0.3, "young": 0.25}
    half = {task: rate + 0.06 * (i % 3) for i, (task, rate) in enumerate(rates.items())}
    full = {task: rate + 0.12 * (i % 3) for i, (task, rate) in enumerate(rates.items())}
    full["month"] = 0.2
    return deltas_of(
        evaluated("base", {task: rate - 0.03 for task, rate in rates.items()}),
        evaluated(CONTROL, rates),
        evaluated(LOW, half),
        evaluated(HIGH, full),
        control=CONTROL,
    )


def make_artifacts(root: Path) -> dict[str, Any]:
    train = {}
    for number, (arm, made) in enumerate(arms_of(make_recipe()).items()):
        recipe = made.recipe
        folder = root / f"train{number}"
        folder.mkdir(parents=True)
        write_jsonl(
            folder / "metrics.jsonl",
            (
                {
                    "step": step,
                    "train/tokens": step * 2000,
                    "train/loss": 2 + (4 - number * 0.2) * math.exp(-step / 120),
                }
                for step in range(10, 501, 10)
            ),
        )
        ratios = recipe.mixture.phases[0].ratios
        sources = {
            name: {
                "drawn": int(ratio * 999_963),
                "padded": 12,
                "loss": 2.0,
                "epochs": ratio * 3,
            }
            for name, ratio in ratios.items()
        }
        summary = {"tokens": 1_000_000, "steps": 500, "final_loss": 2.04, "seconds": 412.0}
        summary |= {"tokens_per_second": 2427.2, "sources": sources}  # type: ignore[dict-item]
        origin = {"source": "synthetic", "made_by": EVIL, "generation": 3, "family": ""}
        other = {"source": "human", "made_by": "", "generation": None, "family": ""}
        told = [{**origin, "share": 0.25}, {**other, "share": 0.75}]
        summary |= {"provenance": told}  # type: ignore[dict-item]
        train[arm] = invented_artifact(folder, fingerprint=f"t{number}", summary=summary)
    filtered, generate = root / "filter", root / "generate"
    generate.mkdir()
    with DatasetWriter(filtered) as writer:
        for i in range(50):
            own = {"question": EVIL, "text": EVIL, "lineage": json.dumps({"x": EVIL})}
            writer.curated(curated_row(i, **(own if i == 0 else {})))
        for i in range(30):
            own = {"question": "" if i == 0 else "What day follows Monday?", "answer": EVIL}
            torn = {"record": "{torn"} if i % 2 else {}
            writer.rejected(rejected_row(i, match=EVIL, **own, **torn))
    write_jsonl(generate / "candidates.jsonl", map(candidate, range(50)))
    funnel = [
        ("parse", 80, 74),
        ("dedup", 74, 66),
        ("decontaminate", 66, 63),
        ("agreement", 63, 50),
    ]
    return {
        "train": train,
        "datasets": {
            "filter": invented_artifact(
                filtered,
                **{
                    "fingerprint": "f",
                    "summary": {
                        "candidates": 80,
                        "curated": 50,
                        "rejected": 30,
                        "funnel": [
                            {"step": s, "entered": a, "left": b, "rejected": a - b}
                            for s, a, b in funnel
                        ],
                        "planted_leak_recall": {"verbatim": 1.0, "reordered": 0.975},
                        "by_task": {"unit": {"candidates": 60, "curated": 50}},
                        "rejected_by_reason": {"votes disagree": 13, "near duplicate": 8},
                        "decontamination_by_task": {"unit": {"13 words": 3}},
                        "agreement_histogram": [0, 0, 0, 0, 0, 5, 10, 15, 0, 20],
                        "distance_to_seed": [0, 1, 2, 3, 4, 5, 6, 7, 8, 14],
                        "distinct_n": {"1": 0.125, "2": 0.5, "3": 0.875},
                        "near_duplicate_rate": 0.108,
                    },
                },
            ),
        },
        "generate": invented_artifact(
            generate,
            **{
                "fingerprint": "g",
                "summary": {"ledger": [LEDGER, LEDGER | {"teacher": "cascade", "dollars": 0.03}]},
            },
        ),
        "seeds": invented_artifact(
            root,
            **{
                "fingerprint": "s",
                "summary": {
                    "seeds": 40,
                    "rejected_seeds": 0,
                    "coverage": [
                        dict(zip(COVERAGE, row, strict=True))
                        for row in (
                            ("unit", "knowledge", 90, 30, 30),
                            ("void", "knowledge", 20, 8, 7),
                            ("day", "math", 5, 5, 5),
                        )
                    ],
                    "allowed_leaks": [],
                    "licences": {"": 3, "mit": 37},
                },
            },
        ),
        "tokenized": {
            "tokenize": invented_artifact(
                root,
                **{
                    "fingerprint": "k",
                    "inputs": {"filter": "f"},
                    "summary": {
                        "sources": {
                            "synthetic": {"documents": 50, "dropped": 0, "tokens": 5000},
                            "human": {"documents": 3, "dropped": 1, "tokens": 9},
                        }
                    },
                },
            )
        },
    }


def make_page(root: Path) -> Path:
    stages = [
        report.StageRow("generate", "", "1a2b3c", 61.5, True, "runs/generate/1a2b3c", EARLIER),
        report.StageRow("train", HIGH, "4d5e6f", 4120.0, False, "runs/<b>train</b>", FINISHED),
    ]
    return report.build(
        root / "report.html", make_recipe(), stages, make_deltas(), **make_artifacts(root)
    )


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_page(tmp_path_factory.mktemp("page")).read_text(encoding="utf-8")


def parse(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


def test_the_page_loads_nothing_from_the_network(html: str) -> None:
    page = parse(html)
    assert [name for name in page.resources if not name.startswith("#")] == ["data:,"]
    assert all(f'id="{name[1:]}"' in html for name in page.resources if name.startswith("#"))
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert "plotly.js v" in gzip.decompress(base64.b64decode(page.scripts[0])).decode()[:100]
    assert len(html) < 2.5e6


def test_text_from_data_is_escaped_everywhere(html: str) -> None:
    page = parse(html)
    assert len(page.scripts) == 4
    assert "<script>alert" not in html and "<b>train" not in html
    assert 'alert("x")' in page.text and "{{ 7 * 7 }}" in page.text
    assert "alert" not in page.scripts[1] + page.scripts[3]


def test_every_delta_is_on_the_page(html: str) -> None:
    page = parse(html)
    deltas = make_deltas()
    for row in deltas.rows:
        assert stats.interval(row.low, row.high) in page.text
        assert f"{100 * row.score:.1f}%" in page.text
    for claim in (*deltas.conclusion.splitlines(), *deltas.caveat.splitlines()):
        assert claim in page.text
    plots = plots_of(html)
    assert (len(plots["loss"][0][1]["data"]), len(plots["forest"][0][1]["data"])) == (3, 6)


def plots_of(html: str) -> dict[str, Any]:
    """Id -> its [label, figure] pairs."""
    plots: dict[str, Any] = json.loads(parse(html).scripts[1])
    return plots


def words_of(html: str) -> str:
    """The words of the page, single spaces between them and between cells."""
    return " ".join(parse(html).pieces)


def test_mixture_funnel_and_samples_are_shown(html: str) -> None:
    text = words_of(html)
    for shown in (
        "249,990",
        "25.0%",
        "decontaminate",
        "votes disagree",
        "1 h 08 min",
        "toy:7.q0",
        "reordered 97.5%, verbatim 100.0%.",
        "unit 13 words 3",
        "generation 3 25.0%, not declared 75.0%",
    ):
        assert shown in text
    assert html.count("Lineage: id") == 50 + 30
    assert "no answer line" in text


def test_a_page_without_allowed_leaks_has_no_banner(html: str) -> None:
    assert 'class="alarm"' not in html


def test_coverage_is_planned_against_produced(html: str) -> None:
    text = words_of(html)
    assert "knowledge 110 38 37 60 50 83.3%" in text
    assert "math 5 5 5 0 0 -" in text
    assert "void knowledge 20 8 7 0 0 -" in text
    assert "not stated 3, mit 37." in text


def test_diversity_difficulty_and_distance_are_shown(html: str) -> None:
    plots = plots_of(html)
    assert plots["agreement_histogram"][0][1]["data"][0]["y"][-1] == 20
    assert plots["distance_to_seed"][0][1]["data"][0]["customdata"][3] == "0.3 to 0.4"
    for name in plots:
        assert f'<div class="plot" id="{name}"' in html
    text = words_of(html)
    assert "0.125 distinct-1" in text and "0.875 distinct-3" in text
    assert "10.8% near duplicates" in text


def test_the_ledger_names_each_teacher_and_their_sum(html: str) -> None:
    text = words_of(html)
    assert "teacher small-7b 400 91,000 42,000 18.0 s 2,333 0.01 2.00 0.20" in text
    assert "all 800 182,000 84,000 36.0 s 2,333 0.04 8.00 0.80" in text


@pytest.mark.parametrize("where", ["seeds", "train"])
def test_allowed_leaks_are_a_banner_at_the_top(where: str, tmp_path: Path) -> None:
    """Those of the first dataset's seeds, of another arm's, or of a base's."""
    artifacts = make_artifacts(tmp_path)
    made = artifacts["seeds"] if where == "seeds" else next(iter(artifacts["train"].values()))
    made.summary["allowed_leaks"] = [
        {"task": "gsm8k", "reason": EVIL},
    ]
    page = report.build(tmp_path / "r.html", make_recipe(), [], make_deltas(), **artifacts)
    html = page.read_text(encoding="utf-8")
    before = html[: html.index('class="lead"')]
    assert 'class="alarm"' in before and "gsm8k" in before


def test_a_recipe_that_only_makes_a_dataset_has_a_page(tmp_path: Path) -> None:
    artifacts = make_artifacts(tmp_path)
    whole = make_recipe().model_dump(mode="json", by_alias=True)
    kept = ("name", "seeds", "generate", "filter", "eval")
    recipe = Recipe.model_validate({key: whole[key] for key in kept})
    del artifacts["train"], artifacts["tokenized"]
    page = report.build(tmp_path / "r.html", recipe, [], None, **artifacts)
    text = words_of(page.read_text(encoding="utf-8"))
    assert 'id="deltas"' not in page.read_text(encoding="utf-8")
    assert "50 of 80 candidates were accepted. This recipe compares no models." in text
    assert "knowledge 110 38 37" in text and "Lineage: id" in text
    assert "Loss over training tokens" not in text and "Change by task" not in text
    assert 'id="training"' not in page.read_text(encoding="utf-8")
    assert "teacher small-7b 400 91,000 42,000 18.0 s 2,333 0.01 - 0.20" in text


def test_on_a_cpu_the_page_says_how_many_threads() -> None:
    execution = {"processes": 2, "device": "CPU", "threads": 8}
    assert about._hardware(execution) == "2 x CPU, 8 threads"


def test_single_arms_and_controls_are_among_what_varies() -> None:
    section = AblationSection(
        axes={"mixture.synthetic": [0, 0.5]},
        arms=[{"name": "slow", "train.lr": 1e-4}],
        control="synthetic=0",
        controls=["repeat_matched"],
    )
    varied = ["mixture.synthetic", "train.lr", "ablation.controls"]
    assert report._varied(section) == varied


def test_the_page_begins_with_what_ran(tmp_path: Path) -> None:
    origin = PageOrigin("tsqa run recipe.yaml", "tsqa 1.2, commit abc", "2 cores (x)")
    artifacts = make_artifacts(tmp_path)
    for number, artifact in enumerate(artifacts["train"].values()):
        execution = {"processes": 8, "device": "NVIDIA H100"}
        artifact.summary.update(parameters=924_208 + number // 2, execution=execution)
    stages = [report.StageRow("train", HIGH, "4d5e6f", 4120.0, False, "runs/train", FINISHED)]
    page = report.build(
        tmp_path / "r.html", make_recipe(), stages, make_deltas(), origin=origin, **artifacts
    )
    text = words_of(page.read_text(encoding="utf-8"))
    begin = text[: text.index("Paired on the same documents")]
    for shown in (
        f"{LOW} and {HIGH} against the control {CONTROL} , and the control against the base model",
        "The arms differ in mixture.synthetic .",
        "Finished 2026-01-31 13:04 UTC Harness tsqa 1.2, commit abc Command tsqa run recipe.yaml",
        "Model m Teacher t (vllm) Size 924,208 parameters, 924,209 parameters",
        "Training, each arm 1,000,000 tokens",
        "Trained on 8 x NVIDIA H100 Page written on 2 cores (x)",
        "model: path: m",
        "max_num_seqs: 256",
    ):
        assert shown in begin, shown


def test_every_explained_word_is_in_the_list_of_terms(html: str) -> None:
    explained = {unescape(title) for title in re.findall(r'<abbr title="([^"]+)"', html)}
    assert len(explained) > 10 and explained <= set(about.TERMS.values())
    text = words_of(html)
    assert all(" ".join(meaning.split()) in text for meaning in about.TERMS.values())


def test_lineage_is_a_tree_that_loses_nothing() -> None:
    digest = "ab" * 32
    lineage = {
        "seed_id": "s1", "dataset": "gsm8k", "split": "train", "licence": "mit",
        "prompts": {"question": {"id": "similar", "sha256": digest}, "answer": {"id": "enrich"}},
        "sampling": {"answer": {"temperature": 0.8}},
        "teacher": {"model": "big"}, "votes": ["a0", "a1"], "winning_vote": "a1",
        "odd": [{"x": {"y": 1}}, 2],
    }  # fmt: skip
    seed, question, answers, teacher, odd = dataset.lineage_tree(lineage)
    assert (seed.name, seed.value) == ("seed", "s1")
    [source] = seed.branches
    assert source.value == "gsm8k" and [b.value for b in source.branches] == ["train", "mit"]
    assert [b.value for b in question.branches] == [f"id similar, sha256 {digest[:16]}"]
    shown = [(b.name, b.value) for b in answers.branches]
    assert shown[0] == ("prompt", "id enrich") and shown[2:] == [
        ("votes", "a0, a1"),
        ("chosen vote", "a1"),
    ]
    assert teacher.value == "model big"
    assert odd.branches[0].branches[0].value == "y 1" and odd.branches[1].value == "2"
    for strange in ({"prompts": "x"}, {"prompts": {"question": 1}}, {"sampling": []}, {}):
        assert [b.name for b in dataset.lineage_tree(strange)] == [k for k in strange if strange[k]]


def test_an_arm_has_one_colour_in_every_figure(html: str) -> None:
    plots = plots_of(html)
    curves = {trace["name"]: trace["line"]["color"] for trace in plots["loss"][0][1]["data"]}
    marks = {trace["name"]: trace["marker"]["color"] for trace in plots["forest"][0][1]["data"]}
    assert curves[HIGH] == marks[f"{HIGH} - {CONTROL}"] != marks[f"{LOW} - {CONTROL}"]


def test_missing_artifacts_are_said_to_be_missing(tmp_path: Path) -> None:
    page = report.build(tmp_path / "r.html", make_recipe(), [], make_deltas())
    text = parse(page.read_text(encoding="utf-8")).text
    for words in (
        "no loss curves",
        "mixture is not known",
        "no filter stage",
        "No stages",
        "No seeds were chosen",
        "nothing to measure",
        "No items to show",
        "No documents were scored",
        "no curve over tokens",
    ):
        assert words in text


def test_equal_artifacts_give_an_equal_page(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert make_page(tmp_path / "a").read_bytes() == make_page(tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (61.5, "1 min 02 s"), (3599.9, "1 h 00 min")],
)
def test_durations_read_well(seconds: float, shown: str) -> None:
    assert report.duration(seconds) == shown


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, dict[str, Any]]:
    """Three ratios x three seeds, one arm failed; the arguments of build."""
    root = tmp_path_factory.mktemp("world")
    recipe = page_world.make_recipe([0.0, 0.1, 0.5], [1, 2, 3])
    tasks = ["day", "month", "unit"]
    evaluations = page_world.make_evaluations(root, recipe, tasks, 60, text=EVIL)
    del evaluations[FAILED]
    deltas = page_world.make_deltas(recipe, evaluations)
    train = page_world.make_train(root, recipe)
    return recipe, {"deltas": deltas, "evaluations": evaluations, "train": train}


def rendered(path: Path, world: tuple[Recipe, dict[str, Any]], **changes: Any) -> str:
    recipe, given = world
    return report.build(path / "r.html", recipe, [], **{**given, **changes}).read_text("utf-8")


def test_an_arm_without_results_is_a_marked_gap(tmp_path: Path, world: Any) -> None:
    text = words_of(rendered(tmp_path, world))
    assert (
        "1 run has no result and is left out of everything below; no score is taken for 0." in text
    )
    assert f"{FAILED} : not evaluated" in text
    gaps = {FAILED: Gap("synthetic=0.5", "ended with code 9 <&>")}
    page = rendered(tmp_path, world, deltas=replace(world[1]["deltas"], gaps=gaps))
    assert "1 run has no result" in words_of(page)
    assert "ended with code 9 &lt;&amp;&gt;" in page


def test_a_condition_that_the_comparison_does_not_name_is_a_gap(tmp_path: Path, world: Any) -> None:
    recipe, given = world
    left = {n: a for n, a in given["evaluations"].items() if not n.startswith("synthetic=0.1")}
    deltas = replace(page_world.make_deltas(recipe, left), gaps={})
    text = words_of(rendered(tmp_path, world, evaluations=left, deltas=deltas))
    assert "4 runs have no result and are left out" in text
    assert "synthetic=0.1,seed=3 : no evaluation was found" in text


def test_seeds_that_an_arm_lost_and_intervals_without_resamples_are_told_so(
    tmp_path: Path, world: Any, html: str
) -> None:
    with_seeds = words_of(rendered(tmp_path, world))
    assert "2 to 3 training seeds each" in with_seeds and "resamples" not in with_seeds
    assert "1 training seed each" in words_of(html) and "resamples" in words_of(html)


def test_score_against_ratio_has_every_seed_and_the_means(tmp_path: Path, world: Any) -> None:
    deltas = world[1]["deltas"]
    figure = dict(plots_of(rendered(tmp_path, world))["ratio"])["macro"]
    seeds, means = figure["data"]
    assert sorted(set(seeds["x"])) == means["x"] == [0, 10, 50] and len(seeds["x"]) == 8
    assert means["y"] == [100 * deltas.scores[f"synthetic={r}"]["macro"] for r in (0.0, 0.1, 0.5)]
    assert means["error_y"]["array"][0] == 0 < means["error_y"]["array"][1]


def test_arms_with_and_without_synthetic_data_are_no_axis_of_ratios(tmp_path: Path) -> None:
    one_seed = page_world.make_recipe([0.0, 0.5], [1])
    axes = {"mixture.synthetic": [0.0, 0.5], "train.lr": [0.1, 0.2]}
    control = {"mixture.synthetic": 0.0, "train.lr": 0.1}
    tree = one_seed.model_dump(mode="json", by_alias=True)
    two_axes = Recipe.model_validate(tree | {"ablation": {"axes": axes, "control": control}})
    pages = []
    for number, recipe in enumerate((one_seed, two_axes)):
        evaluations = page_world.make_evaluations(tmp_path / str(number), recipe, ["day"], 20)
        deltas = page_world.make_deltas(recipe, evaluations)
        pages.append(rendered(tmp_path, (recipe, {"deltas": deltas, "evaluations": evaluations})))
    assert ["ratio" in plots_of(page) for page in pages] == [True, False]
    assert "single seeds" not in words_of(pages[0])


def test_the_fit_is_drawn_with_its_band_on_its_task_only(tmp_path: Path, world: Any) -> None:
    curve = [FitPoint(x, score=0.3 + x, low=0.2 + x, high=0.4 + x) for x in (0.0, 0.5)]
    fit = AxisFit("mixture.synthetic", "macro", [], curve, None, None, [], "<none>")
    page = rendered(tmp_path, world, deltas=replace(world[1]["deltas"], fit=fit))
    figures = dict(plots_of(page)["ratio"])
    assert len(figures["macro"]["data"]) == len(figures["day"]["data"]) + 3
    assert figures["macro"]["data"][0]["y"] == [40.0, 90.0]
    assert "&lt;none&gt;" in page
    refused = replace(fit, curve=[], recommendation="too few ratios")
    page = rendered(tmp_path, world, deltas=replace(world[1]["deltas"], fit=refused))
    assert "too few ratios" in page and len(dict(plots_of(page)["ratio"])["macro"]["data"]) == 2


def test_losses_are_shown_by_source_and_held_out(tmp_path: Path, world: Any) -> None:
    shown = dict(plots_of(rendered(tmp_path, world))["loss"])
    assert list(shown) == [
        "training, all sources",
        "training, human",
        "training, synthetic",
        "held out, human",
    ]
    assert len(shown["training, human"]["data"]) == 9
    assert len(shown["training, synthetic"]["data"]) == 6
    legend = [trace["name"] for trace in shown["held out, human"]["data"] if trace["showlegend"]]
    assert legend == ["synthetic=0.0", "synthetic=0.1", "synthetic=0.5"]


def test_intermediate_checkpoints_make_curves_over_tokens(tmp_path: Path, world: Any) -> None:
    arm = "synthetic=0.5,seed=1"
    half = page_world.evaluation(tmp_path / "half", {"day": [1, 0, 1, 1]}, tokens=500_000)
    page = rendered(tmp_path, world, checkpoints={arm: [half]})
    figure = dict(plots_of(page)["tokens"])["day"]
    [line] = figure["data"]
    assert line["x"] == [0, 500_000, 1_000_000] and line["y"][1] == 75


def test_contamination_stands_beside_every_score(tmp_path: Path, world: Any) -> None:
    clean = {"synthetic=0.5": 0.1234, "base": 0.4321, "synthetic=0.1": None}
    by_task = {
        "day": Contamination("touched", ["docs"], ["base/docs"], {}, 7, 53, clean),
        "unit": Contamination("clean", ["docs"], [], {}, 0, 60, clean),
        "month": Contamination("not_checked", [], ["base/docs"], {}, None, None, {}),
        "year": Contamination("allowed_leak", ["docs"], [], {"base/docs": 3}, None, None, {}),
    }
    deltas = replace(world[1]["deltas"], contamination=by_task)
    text = words_of(rendered(tmp_path, world, deltas=deltas))
    assert "contamination: touched (7 documents); not checked: base/docs" in text
    assert "contamination: clean" in text and "contamination: not checked: base/docs" in text
    assert "Nothing looked for evaluated documents in base/docs." in text
    assert "1 task is touched : compare the clean scores." in text  # allowed leaks have none
    assert text.count("clean 12.3%") == text.count("clean 43.2%") == 1


def test_an_ablation_of_the_data_shows_the_yield_of_every_dataset(tmp_path: Path) -> None:
    artifacts = make_artifacts(tmp_path)
    [first] = artifacts["datasets"].values()
    other = invented_artifact(first.path, summary=first.summary | {"candidates": 40, "curated": 10})
    artifacts["datasets"] = {"filter:votes=5": first, "filter:votes=1": other}
    page = report.build(tmp_path / "r.html", make_recipe(), [], make_deltas(), **artifacts)
    text = words_of(page.read_text(encoding="utf-8"))
    assert "The arms use 2 datasets." in text
    assert "filter:votes=5 80 50 62.5%" in text and "filter:votes=1 40 10 25.0%" in text


def test_many_arms_are_a_map_and_stay_small(tmp_path: Path) -> None:
    recipe = page_world.make_recipe([i / 100 for i in range(51)], [1])
    tasks = [f"task_{i:02d}" for i in range(30)]
    evaluations = page_world.make_evaluations(tmp_path, recipe, tasks, 40)
    deltas = page_world.make_deltas(recipe, evaluations)
    train = page_world.make_train(tmp_path, recipe)
    page = report.build(
        tmp_path / "r.html", recipe, [], deltas, evaluations=evaluations, train=train
    ).read_text("utf-8")
    plots = plots_of(page)
    [cells] = plots["map"][0][1]["data"]
    assert (len(cells["z"]), len(cells["z"][0])) == (31, 50)
    words = [row.verdict for row in deltas.rows if row.arm != deltas.control]
    shaded = [value for line in cells["z"] for value in line if value]
    assert 0 < len(shaded) <= len([word for word in words if word == stats.DIFFERS])
    assert page.count('" checked>') == CHOSEN_ARMS
    assert len(page) < 10e6


def test_a_small_change_that_was_found_is_told_from_none_on_the_map() -> None:
    found = deltas_of(*(evaluated(arm, {"day": rate}) for arm, rate in (("c", 0.2), ("x", 0.6))))
    large, macro = found.rows
    small = replace(large, delta=-0.0002, low=-0.0003, high=-0.0001, verdict=stats.WORSE)
    none = replace(macro, delta=-0.0002, verdict=stats.UNCHANGED)
    deltas = replace(found, rows=[small, none, *(replace(r, arm="y") for r in found.rows)])
    trace: Any = figures.delta_map(replace(deltas, arms=["x", "y"]))["data"]
    (first, _), (second, _) = trace[0]["z"][::-1]  # the macro average stands above
    reach, stops = trace[0]["zmax"], dict(trace[0]["colorscale"])
    nearest = min(stops, key=lambda at: abs(at - 0.5 - second / reach / 2))
    assert first == 0 and stops[nearest] == "rgba(216,105,43,0.3)"
    assert stops[max(at for at in stops if at < 0.5)] == stops[min(at for at in stops if at > 0.5)]
