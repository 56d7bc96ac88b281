"""A candidate at its end: a row of the dataset, or one of the rejected."""

from __future__ import annotations

import json

from tsqa.curated.render import Renderer
from tsqa.records.candidate import Candidate, Rejection
from tsqa.records.candidate_file import UnreadableLine, as_json
from tsqa.records.rows import CuratedRow, Lineage, RejectedRow


def curated_row(candidate: Candidate, renderer: Renderer) -> CuratedRow:
    record = candidate.record
    rendering, text = renderer.render(candidate)
    lineage = Lineage(
        winning_vote=candidate.winning_vote,
        votes=[vote.id for vote in record.votes],
        seed_ids=record.seed_ids,
        seed_hash=record.seed_hash,
        prompts=record.prompts,
        sampling=record.sampling,
        form=record.form,
        teacher=record.teacher,
        cascade=record.cascade,
        solvers=record.solvers,
        usage=record.usage,
        attributes=record.attributes,
        canaries=record.canaries,
        edit=candidate.edit,
    )
    return CuratedRow(
        id=candidate.id,
        task=record.task,
        family=record.family,
        capability=record.capability,
        subject=record.subject,
        language=record.language,
        kind=record.kind,
        licence=record.licence,
        dataset=record.dataset,
        revision=record.revision,
        split=record.split,
        seed_id=record.seed_id,
        question=candidate.question,
        context=candidate.context,
        choices=candidate.choices,
        answer=candidate.answer,
        answer_index=candidate.answer_index,
        reasoning=candidate.reasoning,
        knowledge=candidate.knowledge,
        item_context=candidate.item_context,
        distractors=candidate.distractors,
        tests=candidate.tests,
        text=text,
        rendering=rendering,
        agreement=candidate.voted,
        scores=json.dumps(candidate.scores, sort_keys=True),
        lineage=lineage.to_json(),
    )


def rejected_row(candidate: Candidate, step: str, rejection: Rejection) -> RejectedRow:
    if isinstance(candidate.source, UnreadableLine):
        record = json.dumps(vars(candidate.source), ensure_ascii=False)
    else:
        record = json.dumps(as_json(candidate.record), ensure_ascii=False, sort_keys=True)
    return RejectedRow(
        id=candidate.id,
        task=candidate.task,
        family=candidate.family,
        capability=candidate.capability,
        kind=candidate.kind,
        question=candidate.question,
        answer=candidate.answer,
        step=step,
        reason=rejection.reason,
        score=rejection.score,
        match=rejection.match,
        record=record,
    )
