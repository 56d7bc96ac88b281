"""Which evaluated documents tell what another one holds: the same ones, and those of its passage.

A check names one document for each run of words that it finds. Two prompts of one benchmark share
their documents, under two names; the questions about one passage share the passage.

Guarantee: documents that are the same as they were scored, or as they ask, are found in every task.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from eval.lineage.sources import evaluated_benchmarks
from tsqa.decontaminate.keys import has_passage
from tsqa.decontaminate.passages import TEMPLATE
from tsqa.records.seed import read_seeds
from tsqa.seeds.leaks import EvaluatedKeys, key_of
from tsqa.store.artifact import Artifact
from tsqa.text.normalise import normalise
from tsqa.text.sameness import option_key

Key = tuple[str, int]
"""Task and doc_id."""


class Copies:
    """The evaluated documents, by what they share."""

    def __init__(self, evaluations: Iterable[Artifact], hashes: Mapping[Key, str]) -> None:
        """`hashes`: the doc_hash of every scored document."""
        sharing: defaultdict[tuple[str, str], set[Key]] = defaultdict(set)
        for key, doc_hash in hashes.items():
            sharing["hash", doc_hash].add(key)
        # Every recipe of a store may have benchmarks of its own, with the same documents.
        read = {
            (document.task, document.doc_id): document
            for made in evaluated_benchmarks(evaluations)
            for document in read_seeds(made.path / "documents.jsonl")
        }
        asked, whole = EvaluatedKeys(), {key: key_of(document) for key, document in read.items()}
        for key, document in read.items():
            asked.add(whole[key], document.id)
        for key, document in read.items():
            if document.question or document.context:
                # The options tell apart what asks a general question, also a long one.
                same = [asked.find(whole[key])[0], *option_key(document.choices)]
                sharing["asked", "\n".join(same)].add(key)
            if has_passage(document.context):
                sharing["passage", normalise(document.context)].add(key)
        self._sharing: defaultdict[Key, list[set[Key]]] = defaultdict(list)
        for (by, _), keys in sharing.items():
            # As the check does: what many share is a template, and no passage.
            if len(keys) > 1 and (by != "passage" or len(keys) <= TEMPLATE):
                for key in keys:
                    self._sharing[key].append(keys)

    def of(self, keys: Iterable[Key]) -> set[Key]:
        """These documents with all that share something with them, directly or through others."""
        found, todo = set[Key](), [*keys]
        followed = set[int]()  # each document names all that it shares something with
        while todo:
            key = todo.pop()
            if key not in found:
                found.add(key)
                for others in self._sharing.get(key, ()):
                    if id(others) not in followed:
                        followed.add(id(others))
                        todo += others
        return found
