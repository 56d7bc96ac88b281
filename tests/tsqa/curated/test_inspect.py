"""All that is behind an item, from the artifacts alone."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.curated_rows import candidate, curated_row, rejected_row
from tests.support.sealed import reseal, seal_artifact
from tsqa.curated import lineage
from tsqa.curated.files import DatasetWriter
from tsqa.curated.inspect import inspect, show
from tsqa.errors import DataError
from tsqa.prompts import load_prompts, shipped_prompts
from tsqa.records.canaries import Canary, draw_canaries, write_canaries
from tsqa.records.candidate_file import parse_record
from tsqa.records.seed import Seed
from tsqa.store.jsonl import write_jsonl

FUNNEL = ["format", "agreement", "decontamination"]
EVIL = "[bold]not markup[/bold] [/]"


def make_seed(number: int) -> Seed:
    return Seed(
        id=f"toy:{number}",
        task="toy",
        family="toy",
        capability="knowledge",
        subject="physics",
        language="en",
        kind="choice",
        question=f"What is rope {number} measured in? {EVIL}",
        context="",
        choices=["metre", "litre", "gram"],
        answer_index=0,
        answer="metre",
        explanation="",
        tests="",
        dataset="org/toy",
        revision="abc",
        split="train",
        licence="mit",
        doc_id=number,
        content_hash="00ff",
    )


def make_artifact(root: Path, stage: str, name: str, **manifest: Any) -> Path:
    seal_artifact(root / stage / name, **manifest)
    return root / stage / name


def make_candidate(number: int, form: str) -> dict[str, Any]:
    """As `candidate`, written with shipped prompts that have the form."""
    prompts = {}
    for role in ("question", "answer"):
        found = load_prompts("plain", role, role).of("choice", has_context=False)  # type: ignore[arg-type]
        prompts[role] = asdict(found.lineage)
    return candidate(number, prompts=prompts, form=form)


def make_runs(root: Path, form: str = "completion", canaries: Sequence[Canary] = ()) -> Path:
    """Items 0 to 4 accepted, 5 to 9 rejected: 5 by the format, the others by the vote."""
    planted = [each.seed_id for each in canaries]
    artifacts = root / "artifacts"
    seeds = make_artifact(artifacts, "seeds", "s1")
    write_jsonl(seeds / "seeds.jsonl", map(asdict, map(make_seed, range(12))))
    generate = make_artifact(artifacts, "generate", "g1", config={"enrichment": ["reasoning"]})
    candidates = [make_candidate(number, form) for number in range(10)]
    if planted:
        write_canaries(generate, canaries)
        for each in candidates:
            each["canaries"] = [name for name in each["seed_ids"] if name in planted]
    write_jsonl(generate / "candidates.jsonl", candidates)
    inputs = {"seeds": "s1", "generate": "g1"}
    summary = {"funnel": [{"step": step} for step in FUNNEL]}
    folder = make_artifact(artifacts, "filter", "f1", inputs=inputs, summary=summary)
    with DatasetWriter(folder, rows_per_shard=2) as writer:
        for number in range(5):
            writer.curated(curated_row(number, text=f"Question {number} {EVIL}"))
        writer.rejected(rejected_row(5, step="format", reason="unreadable record", record="{torn"))
        for number in range(6, 10):
            record = json.dumps(candidates[number])
            writer.rejected(rejected_row(number, match="toy:1 (13 words)", record=record))
    for path in artifacts.glob("*/*"):
        reseal(path)
    return root


def shown(runs: Path, item_id: str) -> str:
    console = Console(file=io.StringIO(), width=300)
    show(runs, item_id, console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def paged(runs: Path, **options: Any) -> str:
    folder = runs / "artifacts" / "filter" / "f1"
    console = Console(file=io.StringIO(), width=300)
    inspect(folder, console=console, **options)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_runs(tmp_path_factory.mktemp("runs"))


def test_an_accepted_item_is_shown_from_seed_to_text(runs: Path) -> None:
    text = shown(runs, "toy:3.q0")
    record = make_candidate(3, "completion")
    for part in (
        "toy:3.q0  accepted",
        "org/toy",
        "What is rope 3 measured in? [bold]not markup[/bold] [/]",
        "shown with    toy:4",
        record["prompts"]["question"]["sha256"],
        "temperature 0.8",
        "teacher-7b",
        "toy:3.q0.a2",
        "none: no answer line",
        "2 0 1",
        "scores  agreement 0.667, copy 0.2, decontamination 0.1",
        "decontamination  passed",
        "Question 3 [bold]not markup[/bold] [/]",
    ):
        assert part in text


def test_a_rejected_item_is_shown_with_the_step_that_rejected_it(runs: Path) -> None:
    text = shown(runs, "toy:7.q0")
    for part in (
        "rejected at the step agreement",
        "format           passed",
        "agreement        votes disagree, score 0.667, match: toy:1 (13 words)",
        "decontamination  not reached",
        "toy:7.q0.a0",
        "What is rope 7 measured in?",
    ):
        assert part in text


def test_a_record_that_was_never_readable_is_shown_as_it_is(runs: Path) -> None:
    text = shown(runs, "toy:5.q0")
    assert "{torn" in text and "unreadable record" in text and "not reached" in text


@pytest.mark.parametrize("form", ["completion", "chat"])
def test_prompts_are_rebuilt_as_the_teacher_got_them(form: str) -> None:
    record = parse_record(json.dumps(make_candidate(3, form)))
    seeds = {seed.id: seed for seed in map(make_seed, range(12))}
    texts = lineage.rebuild_prompts(record, seeds, ["reasoning"])
    shots = [seeds["toy:4"], seeds["toy:3"]]
    prompt = load_prompts("plain", "question", "").of("choice", False)
    if form == "completion":
        assert texts["question"] == prompt.completion(shots=shots, kind="choice")
    else:
        turns = prompt.messages(shots=shots, kind="choice")
        assert texts["question"] and all(turn["content"] in texts["question"] for turn in turns)
    assert texts["answer"] and record.question in texts["answer"]


def test_what_cannot_be_rebuilt_is_said(tmp_path: Path) -> None:
    runs = make_runs(tmp_path)
    seeds = {seed.id: seed for seed in map(make_seed, range(12))}
    made = make_candidate(3, "completion")
    made["prompts"]["question"]["sha256"] = "00" * 32
    own = parse_record(json.dumps(made))
    texts = lineage.rebuild_prompts(own, seeds, [])
    assert texts["question"] is None and texts["answer"]
    assert lineage.rebuild_prompts(own, {}, []) == {"question": None, "answer": None}
    seeds_file = tmp_path / "artifacts" / "seeds" / "s1" / "seeds.jsonl"
    seeds_file.write_text("")
    reseal(seeds_file.parent)
    text = shown(runs, "toy:3.q0")
    assert "the seed: it is not in" in text and "cannot be rebuilt" in text
    (tmp_path / "artifacts" / "generate").rename(tmp_path / "gone")
    text = shown(runs, "toy:3.q0")
    assert "the candidate: its artifact is gone" in text and "Question 3" in text


def test_prompts_are_shown_with_the_canaries_that_were_planted(tmp_path: Path) -> None:
    canaries = draw_canaries(["toy:4"], 1, 0)
    runs = make_runs(tmp_path, canaries=canaries)
    text = shown(runs, "toy:3.q0")
    assert "with a canary  toy:4" in text and canaries[0].name in text
    assert canaries[0].name not in shown(runs, "toy:2.q0")
    generate = runs / "artifacts" / "generate" / "g1"
    (generate / "canaries.jsonl").unlink()
    reseal(generate)
    text = shown(runs, "toy:3.q0")
    assert "a seed or canary is missing" in text and "What is rope 3" in text


def test_the_newest_of_several_artifacts_is_shown_and_the_others_named(tmp_path: Path) -> None:
    runs = make_runs(tmp_path)
    newer = make_artifact(
        runs / "artifacts",
        "filter",
        "a0",
        created="2031-01-01T00:00:00Z",
        inputs={"seeds": "s1", "generate": "g1"},
        summary={"funnel": []},
    )
    with DatasetWriter(newer) as writer:
        writer.curated(curated_row(3, text="newer text"))
    reseal(newer)
    unfinished = runs / "artifacts" / "filter" / "b0.partial"
    with DatasetWriter(unfinished) as writer:
        writer.curated(curated_row(3, text="unfinished"))
    text = shown(runs, "toy:3.q0")
    assert "newer text" in text and "unfinished" not in text
    assert f"also in   {runs / 'artifacts' / 'filter' / 'f1'}" in text


def test_an_unknown_id_is_an_error_with_near_ones(runs: Path) -> None:
    with pytest.raises(DataError, match=r"toy:3\.p0: no item .*\n  fix: did you mean toy:3\.q0"):
        show(runs, "toy:3.p0")
    with pytest.raises(DataError, match=r"no curated dataset below .*nowhere"):
        show(runs / "nowhere", "x")


def test_every_shipped_prompt_is_found_by_its_hash() -> None:
    for role in ("question", "answer"):
        for name in shipped_prompts(role):  # type: ignore[arg-type]
            for prompt in load_prompts(name, role, "").prompts.values():  # type: ignore[arg-type]
                found = lineage._shipped_prompt(role, prompt.sha256)  # type: ignore[arg-type]
                assert found and found.sha256 == prompt.sha256


def test_inspect_shows_a_seeded_choice_of_what_was_accepted(runs: Path) -> None:
    text = paged(runs, n=3)
    assert text.count("agreement 0.667") == 3 and "3 of 3" in text
    assert "[bold]not markup[/bold] [/]" in text
    assert paged(runs, n=3) == text
    assert len({paged(runs, n=3, seed=seed) for seed in range(8)}) > 1
    everything = paged(runs, n=99)
    places = [everything.index(f"toy:{number}.q0") for number in range(5)]
    assert places == sorted(places)


def test_inspect_filters_what_was_rejected(runs: Path) -> None:
    assert paged(runs, rejected=True, n=99).count("rejected") == 5
    votes = paged(runs, step="agreement", n=99)
    assert votes.count("agreement: votes disagree, score 0.667") == 4
    assert "metre x 2, unreadable x 1" in votes
    assert paged(runs, reason="UNREADABLE", n=99).count("rejected  ") == 1


def test_inspect_without_a_match_says_what_there_is(runs: Path) -> None:
    with pytest.raises(DataError, match=r"toy / agreement / votes disagree \(4\), toy / format"):
        paged(runs, step="nothing")
    with pytest.raises(DataError, match=r"there are: toy \(5\)"):
        paged(runs, task="other")


def test_inspect_pages_only_on_a_terminal(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paged_text: list[str] = []
    monkeypatch.setattr("pydoc.pager", paged_text.append)
    folder = runs / "artifacts" / "filter" / "f1"
    inspect(folder, console=Console(file=io.StringIO(), width=80))
    assert not paged_text
    inspect(folder, console=Console(file=io.StringIO(), width=80, force_terminal=True))
    assert len(paged_text) == 1 and "toy:0.q0" in paged_text[0]
