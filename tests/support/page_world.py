"""An invented ablation for the page: ratios x seeds, evaluated documents, and their deltas.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eval.compare import scores as evaluated
from eval.compare.comparison import compare
from eval.compare.ratio_axis import ratio_axis
from eval.deltas import DeltaTable, Gap
from eval.results import columns_of
from tests.support.sealed import invented_artifact
from tsqa.recipe import Recipe, arms_of, control_of
from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import write_json, write_jsonl

QUESTIONS = "Which day comes after {}?", "How many metres are {} kilometres?"
ANSWERS = ["metre", "litre", "gram", "second"]


def make_recipe(ratios: Sequence[float], seeds: Sequence[int]) -> Recipe:
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
                "axes": {"mixture.synthetic": list(ratios)},
                "seeds": list(seeds),
                "control": {"mixture.synthetic": ratios[0]},
            },
        }
    )


def make_evaluations(
    root: Path, recipe: Recipe, tasks: Sequence[str], n: int, text: str = ""
) -> dict[str, Artifact]:
    """`base` and every arm: the more synthetic, the better on all tasks but the last."""
    made = {"base": evaluation(root / "base", _scores(tasks, n, 0.0, 999), text)}
    for number, (name, arm) in enumerate(arms_of(recipe).items()):
        assert arm.recipe.mixture
        gain = 0.5 * arm.recipe.mixture.phases[0].ratios["synthetic"]
        scores = _scores(tasks, n, gain, arm.seed)
        made[name] = evaluation(root / f"arm{number}", scores, text, tokens=1_000_000)
    return made


def evaluation(
    folder: Path,
    scores: Mapping[str, Sequence[float]],
    text: str = "",
    tokens: int | None = None,
) -> Artifact:
    """An evaluate artifact with these scores per document, of a model after so many tokens."""
    folder.mkdir(parents=True)
    rows = [
        {
            "task": task,
            "doc_id": i,
            "doc_hash": f"{task}-{i}",
            "metric": "acc",
            "score": float(score),
            "question": f"{QUESTIONS[i % 2].format(i)} {text}".strip(),
            "answer": ANSWERS[i % 4],
            "prediction": ANSWERS[i % 4] if score else ANSWERS[(i + 1) % 4],
            "loglikelihoods": None,
            "group": None,
        }
        for task, values in scores.items()
        for i, score in enumerate(values)
    ]
    schema = columns_of(*rows[0])
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "documents.parquet")
    about = {"metric": "acc", "version": 1.0, "num_fewshot": 0, "kind": "multiple_choice"}
    about |= {"stderr": 0.0, "backend": "hf"}
    results = {
        task: {**about, "n": len(values), "score": float(np.mean(values))}
        for task, values in scores.items()
    }
    macro = float(np.mean([result["score"] for result in results.values()]))
    content = {"tasks": results, "groups": {}, "backend": "hf", "macro": macro}
    content |= {} if tokens is None else {"tokens": tokens}
    write_json(folder / "results.json", content)
    return invented_artifact(folder, fingerprint=folder.name, summary={})


def make_deltas(recipe: Recipe, evaluations: Mapping[str, Artifact]) -> DeltaTable:
    """What compare writes for these evaluations."""
    models = [evaluated.read("base", evaluations["base"])]
    gaps = {}
    for name, arm in arms_of(recipe).items():
        if name in evaluations:
            models.append(evaluated.read(name, evaluations[name], arm.condition, arm.seed))
        else:
            gaps[name] = Gap(arm.condition, "not evaluated")
    return compare(
        models,
        control=control_of(recipe),
        bootstrap=200,
        confidence=0.95,
        seed=0,
        gaps=gaps,
        axis=ratio_axis(recipe),
    )


def make_train(root: Path, recipe: Recipe) -> dict[str, Artifact]:
    """Train artifacts with metrics, held-out losses and a summary per source."""
    made = {}
    for number, (name, arm) in enumerate(arms_of(recipe).items()):
        assert arm.recipe.mixture
        ratios = arm.recipe.mixture.phases[0].ratios
        folder = root / f"train{number}"
        folder.mkdir(parents=True)
        end = 2 - 0.5 * ratios["synthetic"] + 0.01 * arm.seed
        steps = [
            {
                "step": step,
                "train/tokens": step * 2000,
                "train/loss": (loss := end + 4 * math.exp(-step / 120)),
                "train/loss/human": loss + 0.1,
                **({"train/loss/synthetic": loss - 0.3} if ratios["synthetic"] else {}),
            }
            for step in range(10, 501, 10)
        ]
        write_jsonl(folder / "metrics.jsonl", steps)
        heldout = [
            {"step": s["step"], "train/tokens": s["train/tokens"], "heldout/loss/human": end + 0.3}
            for s in steps[9::10]
        ]
        write_jsonl(folder / "heldout.jsonl", heldout)
        sources = {
            source: {
                "drawn": int(ratio * 999_963),
                "padded": 12,
                "loss": end if ratio else None,
                "epochs": ratio * 3,
            }
            for source, ratio in ratios.items()
        }
        summary = {"tokens": 1_000_000, "steps": 500, "final_loss": end, "seconds": 412.0}
        summary |= {"tokens_per_second": 2427.2, "sources": sources, "heldout": {"human": end}}
        made[name] = invented_artifact(folder, fingerprint=f"t{number}", summary=summary)
    return made


def _scores(tasks: Sequence[str], n: int, gain: float, seed: int) -> dict[str, list[float]]:
    """The same document is about as hard for every arm; a seed moves some of them."""
    scores = {}
    for number, task in enumerate(tasks):
        hard = np.random.default_rng([number, n]).random(n)
        luck = np.random.default_rng([number, n, seed]).normal(0, 0.06, n)
        ability = 0.25 + (gain if number < len(tasks) - 1 else -gain / 3)
        scores[task] = [float(value) for value in hard + luck < ability]
    return scores
