"""Templates do not make two documents near; either side of a comparison counts."""

from __future__ import annotations

from eval.lineage.nearest import Nearness, _own_runs, _runs


def test_what_many_documents_share_does_not_count() -> None:
    texts = {("t", i): f"which day comes after word{i} of week{i}" for i in range(12)}
    own = _own_runs({key: _runs(text) for key, text in texts.items()})
    assert ("which", "day", "comes") not in own["t", 0]
    assert ("after", "word0", "of") in own["t", 0]
    assert _runs("caf\u00e9 au <b>lait</b>") == {("cafe", "au", "lait")}


def test_the_nearest_of_both_sides() -> None:
    near = Nearness({"x": {("t", 0): 0.2}, "c": {("t", 0): 0.5}})
    assert near.between("x", "c") == {("t", 0): 0.5}
    assert near.between("a", "b") == {}
