"""What a preview shows: each item side by side in the terminal, and as a page.

Guarantees: text of seeds and models is never read as markup, in the terminal or on the page; the
page loads nothing from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup
from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tsqa.pages import page_environment
from tsqa.preview.run import Decision, PreviewedItem
from tsqa.records.candidate_file import Vote
from tsqa.store.atomic import write_text
from tsqa.teachers import Completion, Request
from tsqa.teachers.client import Exchange

_STYLE = files("eval.report") / "page.css"


def print_items(items: Sequence[PreviewedItem], console: Console) -> None:
    """Each item: what was sent, what came back, what was taken; votes; filters."""
    for number, item in enumerate(items, 1):
        console.print(Rule(Text(f"{number} of {len(items)}  {item.record.id}"), align="left"))
        console.print(
            Text(f"seed of {item.seed.task}: {item.seed.question or item.seed.context}", "dim")
        )
        if item.record.attributes:
            console.print(Text(f"asked to be: {attributes_of(item)}", "dim"))
        if item.record.canaries:
            console.print(Text(canaries_of(item), "dim"))
        question = item.exchanges[0]
        console.print(_side_by_side(question, taken_question(item)))
        votes = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_lines=False)
        for column in ("vote", "reply", "taken"):
            votes.add_column(column, overflow="fold")
        for vote, exchange in zip(item.record.votes, item.exchanges[1:], strict=True):
            votes.add_row(_name(vote), Text(reply_of(exchange.completion)), Text(taken_vote(vote)))
        if item.record.votes:
            answer = item.exchanges[1].request
            console.print(
                Panel(Text(prompt_of(answer)), title="prompt of the answers", expand=True)
            )
            console.print(votes)
        console.print(_decisions(item.decisions))
        if item.document:
            console.print(Panel(Text(item.document), title="document", expand=True))
    console.print(Text(summary_of(items)))


def write_page(items: Sequence[PreviewedItem], title: str, path: Path) -> None:
    environment = page_environment(Path(__file__).parent)
    environment.filters |= {
        "prompt": prompt_of,
        "reply": reply_of,
        "vote": taken_vote,
        "question": taken_question,
        "attributes": attributes_of,
        "canaries": canaries_of,
        "scores": scores_of,
    }
    template = environment.get_template("page.html.jinja")
    css = Markup(_STYLE.read_text(encoding="utf-8"))
    write_text(path, template.render(items=items, title=title, css=css, summary=summary_of(items)))


def summary_of(items: Sequence[PreviewedItem]) -> str:
    readable = sum(not item.record.parse_error for item in items)
    passed = sum(not item.is_rejected for item in items)
    return f"{len(items)} items, {readable} readable, {passed} pass"


def prompt_of(request: Request) -> str:
    """The prompt as it is sent, before the chat template of the model."""
    turns = "\n\n".join(f"[{turn['role']}]\n{turn['content']}" for turn in request.messages)
    return turns or request.prompt


def reply_of(completion: Completion) -> str:
    """The raw reply, and how it ended unless by itself; thoughts that came apart before it."""
    ended = "" if completion.finish_reason == "stop" else f"\n({completion.finish_reason})"
    thoughts = f"(thoughts: {completion.thoughts})\n" if completion.thoughts else ""
    return f"{thoughts}{completion.text}{ended}"


def attributes_of(item: PreviewedItem) -> str:
    """What `generate.attributes` drew for the question; the style of a rephrasing."""
    return ", ".join(f"{name} {value}" for name, value in item.record.attributes.items())


def canaries_of(item: PreviewedItem) -> str:
    """Which seeds its prompt shows with an invented name and number."""
    seeds = ", ".join(item.record.canaries)
    return f"canary (generate.canaries) planted in what the prompt shows of {seeds}"


def taken_question(item: PreviewedItem) -> str:
    """What the parser took of the reply with the question."""
    record = item.record
    if record.parse_error:
        return f"refused: {record.parse_error}"
    options = [f"{chr(ord('A') + n)}. {text}" for n, text in enumerate(record.choices)]
    taken = (record.context, record.question, *options, record.rephrasing)
    return "\n".join(part for part in taken if part)


def taken_vote(vote: Vote) -> str:
    """What the parser took of a reply with an answer."""
    if vote.error:
        return f"refused: {vote.error}"
    parts = {
        "reasoning": vote.reasoning,
        "knowledge": vote.knowledge,
        "context": vote.context,
        "distractors": vote.distractors,
    }
    told = [f"{name}: {text}" for name, text in parts.items() if text]
    dropped = [f"dropped: {', '.join(vote.dropped)}"] if vote.dropped else []
    return "\n".join([str(vote.answer), *told, *dropped])


def scores_of(decision: Decision) -> str:
    scores = json.dumps(decision.scores, ensure_ascii=False)[1:-1].replace('"', "")
    score = "" if decision.score is None else f"{decision.score:.3g}"
    return ", ".join(part for part in (score, scores) if part)


def _side_by_side(exchange: Exchange, taken: str) -> RenderableType:
    grid = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    for column, ratio in (("prompt", 3), ("reply", 2), ("taken", 2)):
        grid.add_column(column, ratio=ratio, overflow="fold")
    texts = (prompt_of(exchange.request), reply_of(exchange.completion), taken)
    grid.add_row(*map(Text, texts))
    return grid


def _decisions(decisions: Sequence[Decision]) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("filter", "decision", "score", "match"):
        table.add_column(column, overflow="fold")
    asked: list[RenderableType] = []
    for decision in decisions:
        told = Text("pass", "green") if decision.passed else Text(decision.reason, "red")
        table.add_row(decision.step, told, Text(scores_of(decision)), Text(decision.match))
        asked += [_side_by_side(each, scores_of(decision)) for each in decision.exchanges]
    return Group(table, *asked)


def _name(vote: Vote) -> str:
    return vote.id.rpartition(".")[2]
