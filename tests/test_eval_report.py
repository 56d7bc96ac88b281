"""Promises of eval.report: self-contained, escaped, complete, and the same page every time."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from eval import report, stats
from tests.test_eval_compare import deltas_of, evaluated
from tsqa.artifact import Artifact, write_jsonl
from tsqa.recipe import Recipe, arms_of

EVIL = '<script>alert("x")</script> & </pre> {{ 7 * 7 }}'
CONTROL, LOW, HIGH = "synthetic=0.0", "synthetic=0.1", "synthetic=0.25"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks nesting, and collects what a browser would load and show."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.resources: list[str] = []
        self.scripts: list[str] = []
        self.text = ""

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


def make_recipe() -> Recipe:
    return Recipe.model_validate(
        {
            "name": "invented",
            "seeds": {"tasks": ["day"]},
            "generate": {"teacher": {"model": {"path": "t"}, "dollars_per_hour": 2.0}},
            "filter": {},
            "model": {"path": "m"},
            "mixture": {
                "sources": {"human": {"path": "a.jsonl"}, "synthetic": {"from": "filter"}},
                "phases": [{"tokens": 1_000_000, "ratios": {"human": 0.9, "synthetic": 0.1}}],
            },
            "train": {"sequence_length": 8, "global_batch_tokens": 8, "lr": 0.1},
            "eval": {"tasks": ["day"]},
            "ablation": {
                "axes": {"mixture.synthetic": [0.0, 0.1, 0.25]},
                "control": {"mixture.synthetic": 0.0},
            },
        }
    )


def make_deltas() -> dict[str, Any]:
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
    for number, (arm, recipe) in enumerate(arms_of(make_recipe()).items()):
        folder = root / f"train{number}"
        folder.mkdir()
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
        train[arm] = Artifact(folder, {"fingerprint": f"t{number}", "summary": summary})
    items = [
        {
            "id": f"c{i}",
            "task": "unit",
            "question": EVIL if i == 0 else f"Which unit measures the length of rope {i}?",
            "answer": "metre",
            "text": EVIL if i == 0 else f"Question: Which unit? {i}\nAnswer: metre",
            "agreement": 0.8,
            "seed_id": "unit:7",
            "lineage": {"teacher": "9f3c", "prompt": "similar", "x": EVIL},
        }
        for i in range(50)
    ]
    rejected = [
        {
            "id": f"r{i}",
            "task": "day",
            "question": "What day follows Monday?" if i else None,
            "answer": EVIL,
            "step": "agreement",
            "reason": "votes disagree",
            "score": 0.4,
        }
        for i in range(30)
    ]
    filtered, generate = root / "filter", root / "generate"
    filtered.mkdir()
    generate.mkdir()
    write_jsonl(filtered / "curated.jsonl", items)
    write_jsonl(filtered / "rejected.jsonl", rejected)
    votes = [{"id": "v", "answer": "metre"}, {"id": "w", "answer": None}, EVIL]
    write_jsonl(
        generate / "candidates.jsonl", ({"id": item["id"], "votes": votes} for item in items)
    )
    funnel = [
        ("parse", 80, 74),
        ("dedup", 74, 66),
        ("decontaminate", 66, 63),
        ("agreement", 63, 50),
    ]
    return {
        "train": train,
        "filtered": Artifact(
            filtered,
            {
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
                },
            },
        ),
        "generate": Artifact(
            generate,
            {
                "fingerprint": "g",
                "summary": {
                    "prompt_tokens": 91_000,
                    "output_tokens": 42_000,
                    "engine_seconds": 18.0,
                },
            },
        ),
        "seeds": Artifact(
            root, {"fingerprint": "s", "summary": {"seeds": 40, "rejected_seeds": 0}}
        ),
    }


def make_page(root: Path) -> Path:
    stages = [
        report.StageRow("generate", "", "1a2b3c", 61.5, True, "runs/generate/1a2b3c", ""),
        report.StageRow("train", HIGH, "4d5e6f", 4120.0, False, "runs/train/4d5e6f", "<b>note</b>"),
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
    assert page.resources == ["data:,"]
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert html.count("plotly.js v") == 1


def test_text_from_data_is_escaped_everywhere(html: str) -> None:
    page = parse(html)
    assert len(page.scripts) == 3
    assert "<script>alert" not in html and "<b>note" not in html
    assert 'alert("x")' in page.text and "{{ 7 * 7 }}" in page.text
    assert "alert" not in page.scripts[2]


def test_every_delta_is_on_the_page(html: str) -> None:
    page = parse(html)
    deltas = make_deltas()
    for row in deltas["rows"]:
        shown = f"[{stats.points(row['low'])}, {stats.points(row['high'])}]"
        assert shown in page.text
        assert f"{100 * row['score']:.1f}%" in page.text
    assert deltas["conclusion"] in page.text and deltas["caveat"] in page.text
    plots = json.loads(page.scripts[1])
    assert sorted(len(plots[name]["data"]) for name in plots) == [3, 6]


def test_mixture_funnel_cost_and_samples_are_shown(html: str) -> None:
    text = re.sub(r"\s+", " ", parse(html).text)
    for shown in (
        "249,990",
        "25.0%",
        "decontaminate",
        "votes disagree",
        "1 h 08 min",
        "unit:7",
        "reordered 97.5%, verbatim 100.0%.",
    ):
        assert shown in text
    assert "91,000 prompt tokens" in text and "$0.01" in text
    assert html.count("Lineage: id") == report.SAMPLES
    assert "no answer" in text


def test_an_arm_has_one_colour_in_every_figure(html: str) -> None:
    plots = json.loads(parse(html).scripts[1])
    curves = {trace["name"]: trace["line"]["color"] for trace in plots["loss"]["data"]}
    marks = {trace["name"]: trace["marker"]["color"] for trace in plots["forest"]["data"]}
    assert curves[HIGH] == marks[f"{HIGH} - {CONTROL}"] != marks[f"{LOW} - {CONTROL}"]


def test_missing_artifacts_are_said_to_be_missing(tmp_path: Path) -> None:
    page = report.build(tmp_path / "r.html", make_recipe(), [], make_deltas())
    text = parse(page.read_text(encoding="utf-8")).text
    for words in (
        "no loss curves",
        "mixture is not known",
        "no filter stage",
        "No stages",
        "No accepted items",
        "No rejected items",
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
