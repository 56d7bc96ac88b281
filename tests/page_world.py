"""An invented ablation for the page: ratios x seeds, evaluated documents, and their deltas.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eval import stats
from tsqa.artifact import Artifact, write_json, write_jsonl
from tsqa.recipe import Recipe, arms_of, control_of

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
        made[name] = evaluation(root / f"arm{number}", scores, text)
    return made


def evaluation(folder: Path, scores: Mapping[str, Sequence[float]], text: str = "") -> Artifact:
    """An evaluate artifact with these scores per document."""
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
        }
        for task, values in scores.items()
        for i, score in enumerate(values)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "documents.parquet")
    means = {task: float(np.mean(values)) for task, values in scores.items()}
    macro = float(np.mean(list(means.values())))
    results = {task: {"score": mean} for task, mean in means.items()}
    write_json(folder / "results.json", {"tasks": results, "macro": macro})
    return Artifact(folder, {"fingerprint": folder.name, "summary": {}})


def make_deltas(recipe: Recipe, evaluations: Mapping[str, Artifact]) -> dict[str, Any]:
    """What compare writes for several seeds, with normal intervals."""
    control, arms = control_of(recipe), arms_of(recipe)
    by_condition: dict[str, dict[int, dict[str, Any]]] = {}
    for name, arm in arms.items():
        if name in evaluations:
            by_condition.setdefault(arm.condition, {})[arm.seed] = _read(evaluations[name])
    base = _read(evaluations["base"])
    conditions = [name for name in by_condition if name != control]
    pairs = [(control, "base"), *((arm, control) for arm in conditions)]
    rows = []
    for arm, against in pairs:
        reference = by_condition.get(against) or dict.fromkeys(by_condition[arm], base)
        shared = {s: v for s, v in by_condition[arm].items() if s in reference}
        own = [
            _row(task, [shared[s][task] for s in shared], [reference[s][task] for s in shared])
            for task in base
        ]
        own.append(_macro(own))
        label = {"comparison": f"{arm} - {against}", "arm": arm, "against": against}
        rows += [{**label, **row} for row in own]
    scores = {
        name: _with_macro({t: float(np.mean([s[t] for s in by_seed.values()])) for t in base})
        for name, by_seed in by_condition.items()
    }
    return {
        "control": control,
        "arms": conditions,
        "has_base": True,
        "comparisons": [f"{arm} - {against}" for arm, against in pairs],
        "confidence": 0.95,
        "bootstrap": 1000,
        "tasks": {
            task: {"metric": "acc", "version": 1.0, "num_fewshot": 0, "n": len(values)}
            for task, values in base.items()
        },
        "scores": {"base": _with_macro({t: float(np.mean(v)) for t, v in base.items()}), **scores},
        "seeds": {name: list(by_seed) for name, by_seed in by_condition.items()},
        "scores_by_seed": {
            name: {
                str(seed): _with_macro({t: float(np.mean(v)) for t, v in values.items()})
                for seed, values in by_seed.items()
            }
            for name, by_seed in by_condition.items()
        },
        "rows": rows,
        "fit": None,
        "caveat": "Intervals cover documents and seeds.",
        "conclusion": f"Macro average, against the control {control}: see the table.",
    }


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
        made[name] = Artifact(folder, {"fingerprint": f"t{number}", "summary": summary})
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


def _read(artifact: Artifact) -> dict[str, Any]:
    table = pq.read_table(artifact.path / "documents.parquet").to_pydict()
    tasks = dict.fromkeys(table["task"])
    return {
        task: np.array([s for t, s in zip(table["task"], table["score"], strict=True) if t == task])
        for task in tasks
    }


def _row(task: str, after: Sequence[Any], before: Sequence[Any]) -> dict[str, Any]:
    differences = np.mean(np.stack(after) - np.stack(before), axis=0)
    delta = float(differences.mean())
    error = max(float(differences.std()) / math.sqrt(len(differences)), 0.005)
    return {
        "task": task,
        "n": len(differences),
        "reference": float(np.mean(before)),
        "score": float(np.mean(after)),
        "delta": delta,
        "seeds": len(after),
        "method": "documents x seeds",
        **_interval(delta, error),
    }


def _macro(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    delta = float(np.mean([row["delta"] for row in rows]))
    error = math.sqrt(sum(row["stderr"] ** 2 for row in rows)) / len(rows)
    return {
        **rows[0],
        "task": stats.MACRO,
        "n": sum(row["n"] for row in rows),
        "reference": float(np.mean([row["reference"] for row in rows])),
        "score": float(np.mean([row["score"] for row in rows])),
        "delta": delta,
        **_interval(delta, error),
    }


def _interval(delta: float, error: float) -> dict[str, Any]:
    low, high = delta - 1.96 * error, delta + 1.96 * error
    p = math.erfc(abs(delta) / error / math.sqrt(2))
    word = stats.UNCHANGED if low <= 0 <= high else stats.BETTER if low > 0 else stats.WORSE
    return {
        "low": low,
        "high": high,
        "p": p,
        "p_holm": min(1.0, 2 * p),
        "p_mcnemar": None,
        "mde": 2.8 * error,
        "stderr": error,
        "verdict": word,
    }


def _with_macro(scores: Mapping[str, float]) -> dict[str, float]:
    return {**scores, stats.MACRO: float(np.mean(list(scores.values())))}
