"""Questions about passages of documents: the passage is the ground, word for word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.filter_records import candidate, read, record, vote
from tests.support.generation import FakeEngine, make_seed
from tests.support.paths import REPOSITORY
from tests.tsqa.generate.test_stage import run_generate
from tsqa.curated.lineage import rebuild_prompts
from tsqa.dedup.copies import CopyCheck
from tsqa.dedup.minhash import find_duplicates
from tsqa.filters.checks import check_format
from tsqa.prompts import load_prompts
from tsqa.prompts.variables import sample
from tsqa.recipe import DedupSection, PromptsSection
from tsqa.records.candidate import read_candidate
from tsqa.records.candidate_file import CandidateRecord, read_records
from tsqa.records.seed import SeedIndex
from tsqa.teachers import Completion, Request
from tsqa.text.refusals import explains_refusal

PASSAGE = "The lighthouse of Orva was built in 1802. It was lit by whale oil until 1871."
SEEDS = [
    replace(make_seed(n), question="", answer="", context=text)
    for n, text in enumerate((PASSAGE, "Another text altogether. It has two sentences."))
]
LONG = " ".join(f"w{n}" for n in range(150))


class Recorder(FakeEngine):
    def __init__(self) -> None:
        super().__init__()
        self.prompts: list[str] = []

    def complete(self, request: Request) -> Completion:
        prompt = str(request.prompt)
        self.prompts.append(prompt)
        text = " Which thing is lit?" if prompt.endswith("Question:") else "Answer: the lighthouse"
        return Completion(request.id, text, len(prompt), 5, "stop")


def generate(folder: Path, passage: str) -> tuple[Recorder, list[CandidateRecord]]:
    engine = Recorder()
    prompts = PromptsSection(passage=passage, answer="grounded")
    run_generate(folder / "out", engine, SEEDS, per_seed=1, prompts=prompts, enrichment=[])
    return engine, list(read_records(folder / "out" / "candidates.jsonl"))


def test_who_asks_and_who_answers_sees_the_passage_of_the_seed(tmp_path: Path) -> None:
    engine, (first, _) = generate(tmp_path, "rqa")
    assert (first.context, first.ground) == (PASSAGE, "")
    assert first.seed_ids == ["toy-0"], "another passage is no example"
    assert len(engine.prompts) == 2 + 2 * 3
    assert sum(f"Passage: {PASSAGE}" in prompt for prompt in engine.prompts) == 4
    assert sum("Another text" in prompt for prompt in engine.prompts) == 4
    assert {vote.answer for vote in first.votes} == {"the lighthouse"}


def test_a_fact_is_answered_with_the_passage_and_kept_without(tmp_path: Path) -> None:
    engine, (first, _) = generate(tmp_path, "fact_seeking")
    assert (first.context, first.ground) == ("", PASSAGE)
    assert sum(PASSAGE in prompt for prompt in engine.prompts) == 4
    assert PASSAGE not in read_candidate(first).full_text


def test_an_explanation_that_points_at_the_passage_is_not_shown_without_it() -> None:
    def explained(reasoning: str, **more: Any) -> str:
        given = vote("v", "1802", reasoning=reasoning, knowledge="It is a lighthouse.")
        found = read(record("v", "When was it built?", votes=[given], **more))
        assert found.knowledge == "It is a lighthouse."
        return found.reasoning

    pointing, refusing = "The passage says so.", "The passage does not say when it was built."
    assert explained(pointing, context=PASSAGE) == pointing
    assert explained(pointing, ground=PASSAGE) == ""
    assert explained("It was built then.", ground=PASSAGE) == "It was built then."
    assert explained(refusing, ground=PASSAGE) == (refusing if explains_refusal(refusing) else "")


def test_a_grounded_answer_without_a_passage_is_asked_for_as_any_other() -> None:
    prompt = load_prompts("grounded", "answer", "generate.prompts.answer").prompts["short_text"]
    for full in (True, False):
        variables = sample("answer", "short_text", full)
        said = str(prompt.messages(**variables)) + prompt.completion(**variables)
        assert bool(variables["context"]) == full == ("unknown" in said) == ("assage" in said)


def test_a_set_of_passage_prompts_is_taken_by_the_kind_of_answer(tmp_path: Path) -> None:
    shipped = (REPOSITORY / "tsqa" / "prompts" / "passage" / "rqa.jinja").read_text()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "any.jinja").write_text(shipped)
    own = shipped.replace("kind: any", "kind: short_text").replace("Passages, each", "Here, each")
    (tmp_path / "set" / "short_text.jinja").write_text(own)
    engine, _ = generate(tmp_path, str(tmp_path / "set"))
    assert sum(prompt.startswith("Here, each") for prompt in engine.prompts) == 2


def test_the_prompts_of_a_passage_can_be_rebuilt(tmp_path: Path) -> None:
    engine, (first, _) = generate(tmp_path, "rqa")
    rebuilt = rebuild_prompts(first, {seed.id: seed for seed in SEEDS}, [])
    assert set(rebuilt) == {"passage", "answer"}
    assert set(rebuilt.values()) == {prompt for prompt in engine.prompts if PASSAGE in prompt}


def of_passage(name: str, question: str, context: str, **more: Any) -> Any:
    prompts = {"passage": {"id": "rqa", "version": 1, "sha256": "aa"}}
    return candidate(question, name=name, context=context, prompts=prompts, **more)


def test_questions_about_one_passage_are_no_duplicates_unless_they_ask_the_same(
    tmp_path: Path,
) -> None:
    other = " ".join(f"v{n}" for n in range(150))
    generic = "What is the main reason that the author gives for what he did in the end?"
    found = [
        of_passage("a", "Which of the two ships left the harbour before the storm began?", LONG),
        of_passage("b", "How much did the captain pay for the repair of the second mast?", LONG),
        of_passage("c", generic, LONG),
        of_passage("d", generic, other),
        of_passage("e", f"{generic}", LONG),
    ]
    items = ((one.id, one.asked) for one in found)
    verdicts = list(find_duplicates(items, DedupSection(), tmp_path))
    assert [verdict and verdict.match for verdict in verdicts] == [None] * 4 + ["c"]


def test_a_question_is_no_copy_of_the_passage_that_it_is_about(tmp_path: Path) -> None:
    generate(tmp_path, "rqa")
    with SeedIndex(tmp_path / "seeds" / "seeds.jsonl") as seeds:
        check = CopyCheck([], seeds, 0.5)
        asked = of_passage("a", "When?", PASSAGE, seed_ids=["toy-0"])
        assert check.check(asked)[1] is None


def test_a_question_without_its_passage_must_not_point_at_it() -> None:
    for question, is_clear in (
        ("When was the lighthouse of Orva built?", True),
        ("According to the passage, when was it built?", False),
        ("What does the author say of whale oil?", False),
        ("Which oil is mentioned above?", False),
        ("Who was the author of Emma?", True),
        ("Which lamps does the author of the text praise?", False),
    ):
        verdict = check_format(candidate(question, ground=PASSAGE))
        assert (verdict is None) == is_clear, question
    assert check_format(candidate("What does the author say?", context=PASSAGE)) is None
