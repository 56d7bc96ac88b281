"""The filter step `review`: drops what people rejected, takes what they edited; and the guard.

Guarantees: only a decision on the very text of an item is used; an edited item passes the checks of
format again, and decontamination after it, by meaning too where a model is given; the decisions'
content alone decides what comes out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from tsqa.curated.files import read_curated, read_rejected
from tsqa.errors import DataError, RecipeError, TsqaError
from tsqa.recipe import Recipe, ReviewSection
from tsqa.records.candidate import Candidate, Rejection, Verdict
from tsqa.records.candidate_file import ReviewEdit
from tsqa.records.rows import RejectedRow, read_lineage
from tsqa.records.summaries import ReviewSummary
from tsqa.review.decisions import (
    REASONS,
    ReviewDecision,
    by_item,
    edited_choices,
    read_decisions,
    read_last,
    settle,
)
from tsqa.review.items import ACCEPTED, hash_texts, read_rejected_candidate
from tsqa.review.report import make_report, reviews_missing
from tsqa.review.sample import add_terms, dataset_term, read_sample
from tsqa.store.artifact import Artifact

REVIEW = "review"
"""The folder in that of a run; and the step."""
_FIGURES = 2
"""Changes with the formulas of the figures, which the summary keeps."""
_EDITED = "edited: "
"""How the reason of an edit that is unfit begins."""
Check = Callable[[Candidate], Rejection | None]


def review_folder(recipe: Recipe) -> Path:
    """Where the sample and the decisions of a recipe are."""
    section = recipe.filter.review if recipe.filter else None
    named = section.decisions if section else None
    return Path(named) if named else Path(recipe.runs) / recipe.name / REVIEW


def identify_decisions(recipe: Recipe) -> str | None:
    """A hash of all that the step reads; None where there is no decision yet."""
    section = recipe.filter.review if recipe.filter else None
    if section is None:
        return None
    folder = review_folder(recipe)
    if section.decisions and not folder.is_dir():
        raise RecipeError(
            f"filter.review.decisions: {folder}: no such folder",
            "make it with `tsqa review`, or leave the key out",
        )
    if not read_decisions(folder):
        return None
    decisions = read_last(folder)  # what is only skipped counts in the figures
    sample, items = read_sample(folder)
    read = [_FIGURES, asdict(sample), [*map(asdict, items)], [*map(asdict, decisions)]]
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()


class ReviewStep:
    """Applies the decisions of a folder to candidates."""

    def __init__(self, folder: Path, check: Check) -> None:
        """`check`: what an edited item must pass again."""
        self._report = make_report(folder)
        decisions = read_decisions(folder)
        self._outcomes = {key: settle(found) for key, found in by_item(decisions).items()}
        self._ids = {decision.item for decision in decisions}
        self._check = check
        items = read_sample(folder)[1]
        self._drawn = {item.id: item for item in items}

    def decide(self, candidates: Iterable[Candidate]) -> Iterator[Verdict]:
        """One verdict per candidate, in order."""
        return map(self._decide, candidates)

    def edited(self, candidate: Candidate) -> Candidate | None:
        """What the reviewers made of it; None where it is dropped, or stays as it is."""
        outcome = self._outcomes.get((candidate.id, hash_texts(candidate)))
        return apply_edit(candidate, outcome.edit) if outcome and outcome.edit else None

    def sum_up(self, folder: Path) -> ReviewSummary:
        """After all candidates, by the rows that were written."""
        terms = stale = 0
        edited: list[str] = []
        dropped: list[str] = []
        for row in read_curated(folder):
            if read_lineage(row.lineage).edit:
                edited.append(row.id)
                continue
            key = row.id, hash_texts(row)
            terms = add_terms((terms, dataset_term(*key)))
            stale += row.id in self._ids and key not in self._outcomes
        for reject in read_rejected(folder):
            if reject.step == REVIEW:
                (edited if reject.reason.startswith(_EDITED) else dropped).append(reject.id)
            elif reject.step == "decontamination" and self._was_edited(reject):
                edited.append(reject.id)
        before = filter(None, map(self._accepted_as, (*edited, *dropped)))
        report = self._report
        terms = add_terms((terms, *(dataset_term(*known) for known in before)))
        return ReviewSummary(
            reviewers=len(report.reviewers),
            reviewed=report.reviewed,
            accepted=report.sample.accepted,
            dropped=len(dropped),
            edited=len(edited),
            stale=stale,
            is_of_this=f"{terms:x}" == report.sample.dataset,
            covered=report.covered,
            error=report.error.value,
            error_low=report.error.low,
            error_high=report.error.high,
            remaining=report.remaining.value,
            remaining_high=report.remaining.high,
            alpha=report.alpha.value,
            alpha_low=report.alpha.low,
            alpha_high=report.alpha.high,
            skipped=report.skipped,
            figures=[*report.figures()],
        )

    def _was_edited(self, reject: RejectedRow) -> bool:
        candidate = read_rejected_candidate(reject) if reject.id in self._ids else None
        key = (reject.id, hash_texts(candidate)) if candidate else ("", "")
        return key in self._outcomes and self._outcomes[key].edit is not None

    def _accepted_as(self, name: str) -> tuple[str, str] | None:
        """The text with which the dataset without the review holds an item that was set aside; None
        where that lacks it. Of one that is in an older sample, it is taken to hold it."""
        item = self._drawn.get(name)
        if item and (name, item.hash) in self._outcomes:
            return (name, item.hash) if item.outcome == ACCEPTED else None
        return next(key for key in self._outcomes if key[0] == name)

    def _decide(self, candidate: Candidate) -> Verdict:
        outcome = self._outcomes.get((candidate.id, hash_texts(candidate)))
        if outcome is None:
            return candidate, None
        if not outcome.is_kept:
            listed = [reason for reason in outcome.reasons if reason in REASONS]
            reason = listed[0] if listed else "another reason"
            return candidate, Rejection(reason, match="; ".join(outcome.reasons))
        edited = self.edited(candidate)
        if edited is None:
            return candidate, None
        unfit = self._check(edited)
        return edited, Rejection(f"{_EDITED}{unfit.reason}") if unfit else None


def apply_edit(candidate: Candidate, decision: ReviewDecision) -> Candidate:
    """The candidate with the texts of an edit; without the thoughts behind the old ones."""
    edits = decision.edits
    texts = {name: text.strip() for name, text in edits.items() if name != "choices"}
    choices = edited_choices(edits["choices"]) if "choices" in edits else candidate.choices
    answer = texts.get("answer", candidate.answer)
    index = candidate.answer_index
    if choices:
        found = [choice.strip() for choice in choices]
        if answer.strip() not in found:
            raise DataError(f"{candidate.id}: the answer of its edit is none of the options")
        index = found.index(answer.strip())
        texts["answer"] = choices[index]
    done = ReviewEdit(fields=sorted(edits), by=decision.reviewer, when=decision.when)
    return replace(
        candidate,
        **texts,  # type: ignore[arg-type]
        choices=choices,
        answer_index=index,
        trace="",
        edit=done,
    )


def refuse_errors(section: ReviewSection, made: Artifact, told: str) -> None:
    """Raise TsqaError where `max_error` is not shown to hold, with what is missing.

    `told`: the recipe and its overrides, as words of a command.
    """
    most, found = section.max_error, made.summary.get("review")
    if most is None:
        return
    key = f"filter.review.max_error {most:g}"
    accepted = int(made.summary["curated"])
    if found is None:
        first = reviews_missing(accepted, 0, most / 2, most)
        raise TsqaError(
            f"{key}: nobody reviewed the dataset",
            f"tsqa review {told}: about {first:,} accepted items, if {most / 2:g} are unfit",
        )
    review = ReviewSummary(**found)
    if not review.is_of_this:
        raise TsqaError(
            f"{key}: the sample was drawn from another version of the dataset",
            f"draw again, decisions on unchanged items count: tsqa review {told}",
        )
    if review.covered < 1 - 1e-9:
        raise TsqaError(
            f"{key}: {1 - review.covered:.1%} of the accepted items are of strata without a "
            "decision",
            f"decide on the rest of the sample: tsqa review {told}",
        )
    high = review.remaining_high
    if high is not None and high <= most:
        return
    rate = review.error or 0.0
    missing = max(1, reviews_missing(review.accepted, review.reviewed, rate, most))
    shown = "not known" if high is None else f"at most {high:.4f}"
    if review.skipped:
        shown += f", with {review.skipped:,} skipped that count as unfit until somebody decides,"
    raise TsqaError(
        f"{key}: the error rate is {shown} after {review.reviewed:,} reviews, of which {rate:.1%} "
        "are unfit",
        f"review about {missing:,} more accepted items (tsqa review {told}, with a smaller "
        f"--width once all drawn are done), or filter harder: tsqa review {told} --report",
    )
