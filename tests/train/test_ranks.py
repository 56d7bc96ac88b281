"""Ranks start alike or end alike: threads that share a store stand for machines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.distributed import DistBackendError, HashStore, TCPStore

from tests.support.train_runs import free_port
from train import ranks as module
from train.ranks import Ranks, interface_towards
from tsqa.errors import RecipeError, TsqaError

GLOO = "[gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:4711"


def together(*acts: Callable[[Ranks], object], patience: float = 60.0) -> list[str]:
    """Run an act on each of as many ranks; what each ended with, "" for no error."""
    store, ended = HashStore(), [""] * len(acts)

    def play(rank: int, act: Callable[[Ranks], object]) -> None:
        one = Ranks(rank, len(acts), store, f"machine {rank}", patience)
        try:
            one.agree("begin", lambda: None)
            act(one)
        except (TsqaError, RuntimeError) as error:
            ended[rank] = str(error)

    threads = [threading.Thread(target=play, args=pair, daemon=True) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return ended


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_on_one_rank_ends_all_with_its_text_and_place(failing: int) -> None:
    def act(one: Ranks) -> None:
        def make() -> str:
            if one.rank == failing:
                raise RecipeError("no file web.jsonl", "correct the path")
            return "made"

        one.agree("inputs", make)

    ended = together(act, act, act)
    text = "no file web.jsonl\n  fix: correct the path"
    expected = [f"machine {failing}: {text}"] * 3
    expected[failing] = text
    assert ended == expected


def test_what_the_first_rank_makes_or_fails_at_reaches_all() -> None:
    got: list[str] = []
    assert together(*[lambda one: got.append(one.from_first("open", lambda: "done"))] * 2) == [
        "",
        "",
    ]
    assert got == ["done", "done"]

    def locked() -> str:
        raise TsqaError("another process is working on it")

    ended = together(*[lambda one: one.from_first("open", locked)] * 2)
    said = "another process is working on it"
    assert ended == [said, f"machine 0: {said}"]


def test_a_rank_that_never_answers_is_named_to_all() -> None:
    ended = together(
        lambda one: one.agree("inputs", lambda: None),
        lambda one: None,
        lambda one: one.agree("inputs", lambda: None),
        patience=0.5,
    )
    said = "machine 1: did not answer within 0.5 s\n  fix: see the log there"
    assert ended == [said, "", said]


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [("torch", "2.13.0", "2.12.0"), ("recipe.train.lr", 0.1, 0.2), ("processes", 2, 4)],
)
def test_a_machine_with_other_code_or_settings_is_refused(
    monkeypatch: pytest.MonkeyPatch, key: str, before: object, after: object
) -> None:
    def act(one: Ranks) -> None:
        value = after if one.rank else before
        here: dict[str, object] = {"same": [1, 2]}
        for part in reversed(key.split(".")):
            value = {part: value}
        assert isinstance(value, dict)
        one.check_same("settings", here | value)

    ended = together(act, act)
    said = f"machine 1 differs from machine 0: {key}: {before!r} there, {after!r} here"
    assert all(said in text and "fix: install the same" in text for text in ended)


def test_machines_that_are_alike_pass_and_a_wrong_clock_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = {"seed": 0, "train": {"betas": (0.9, 0.95)}}
    assert together(*[lambda one: one.check_alike(recipe)] * 2) == ["", ""]

    def off(one: Ranks) -> None:
        one._clock_error = -90.0 if one.rank else 0.0
        one.agree("clocks", one._check_clock)

    said = "the clock of machine 1 is -90 s off that of machine 0"
    assert all(said in text for text in together(off, off))


def test_a_clock_is_compared_when_all_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[float] = []

    def act(one: Ranks) -> None:
        time.sleep(0.3 * one.rank)  # who comes late is not off
        one.agree("inputs", lambda: None)
        found.append(one._clock_error)

    together(act, act)
    assert max(map(abs, found)) < 0.25


@pytest.mark.parametrize("has_copies", [True, False])
def test_a_machine_that_sees_another_folder_is_refused_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_copies: bool
) -> None:
    monkeypatch.setattr(module, "_SEE_SECONDS", 0.3)
    shared, own = tmp_path / "shared", tmp_path / "own"
    if has_copies:
        own.mkdir()
    ended = together(*[lambda one: one.check_folder(own if one.rank else shared)] * 2)
    assert all(
        f"machine 1 does not see in {own} what machine 0 writes into {shared}\n"
        "  fix: mount one shared folder on all machines, and name it with runs=FOLDER" in text
        for text in ended
    )
    assert ended[0] == ended[1]
    assert [*shared.iterdir()] == []
    assert together(*[lambda one: one.check_folder(shared)] * 2) == ["", ""]
    assert [*shared.iterdir()] == []


def test_a_machine_that_is_lost_in_a_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LAST_WORDS_SECONDS", 0.5)

    def silence(one: Ranks) -> None:
        one.explain(RuntimeError(GLOO))

    ended = together(silence, lambda one: None, silence)
    for text in (ended[0], ended[2]):
        assert text.startswith("lost in a step: machine 1: its processes ended")
        assert "the same command continues from the last checkpoint" in text

    def fail(one: Ranks) -> None:
        one.say_last(RuntimeError("CUDA out of memory"))

    ended = together(silence, fail, lambda one: one.explain(DistBackendError("NCCL timeout")))
    assert ended == ["machine 1: RuntimeError: CUDA out of memory"] * 3 or ended == [
        "machine 1: RuntimeError: CUDA out of memory",
        "",
        "machine 1: RuntimeError: CUDA out of memory",
    ]
    own = together(lambda one: one.explain(RuntimeError("shapes differ")), lambda one: None)
    assert own == ["shapes differ", ""]


def test_the_loss_of_the_machine_that_keeps_the_store_is_named() -> None:
    port = free_port()
    server = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    one = Ranks(1, 2, TCPStore("127.0.0.1", port, is_master=False), "machine 1")
    one._places[0] = "machine 0"
    del server
    with pytest.raises(TsqaError, match="lost machine 0, which keeps the ranks together"):
        one.from_first("open", lambda: "never")
    with pytest.raises(TsqaError, match="lost in a step: machine 0:"):
        one.explain(RuntimeError(GLOO))


def test_one_process_needs_no_store(tmp_path: Path) -> None:
    alone = Ranks(0, 1, None)
    assert alone.agree("recipe", lambda: 3) == 3
    assert alone.from_first("open", lambda: "open") == "open"
    alone.check_folder(tmp_path / "absent")
    alone.check_alike({})
    with pytest.raises(RuntimeError, match="gloo"):
        alone.explain(RuntimeError(GLOO))


def test_the_interface_to_a_host_is_the_one_of_the_route() -> None:
    assert interface_towards("127.0.0.1") == "lo"
    assert interface_towards("no-such-host.invalid") is None
