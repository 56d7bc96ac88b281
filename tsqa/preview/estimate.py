"""What a stage would take: requests, tokens, time, dollars, memory, disk; as ranges.

Guarantees: each number is measured here and scaled by size, follows from the recipe, or is assumed,
and its basis says which; what cannot be bounded is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from eval.statistics.planned import planned_documents
from tsqa.errors import DataError, RecipeError
from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.preview.asking import LITTLE, NOTHING, START, StageEstimate, ask, plus, times
from tsqa.preview.measured import Range
from tsqa.preview.models import (
    GIB,
    ModelSize,
    checkpoint_bytes,
    compute_seconds,
    permanent_checkpoints,
    shape_of_student,
    size_of_model,
    training_gib,
)
from tsqa.recipe import ModelSection, SeedsSection, curve_points, needed
from tsqa.seeds.sources import source_names
from tsqa.store.artifact import Artifact
from tsqa.store.stage import resolve_path
from tsqa.teachers.config import teachers_of

_ASSUMED_SECONDS = {
    "data": Range(5, 120),
    "benchmarks": Range(2, 600),
    "guard": Range(1, 600),
    "tokenizer": Range(1, 600),
    "seeds": Range(2, 900),
    "compare": Range(1, 60),
}
_AROUND = Range(0.7, 1.4)
"""Of a time that was measured here once."""
_JUDGE_TOKENS = 1024


class Estimates:
    """Of the stages of one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._known: dict[str, StageEstimate] = {}

    def of(self, node: Node) -> StageEstimate:
        if node.fingerprint not in self._known:
            makers = {
                "generate": self._generate,
                "filter": self._filter,
                "train": self._train,
                "evaluate": self._evaluate,
                "decontaminate": self._tokenize,
                "nearest": self._tokenize,
                "tokenize": self._tokenize,
            }
            self._known[node.fingerprint] = makers.get(node.stage, self._other)(node)
        return self._known[node.fingerprint]

    def total(self, nodes: Iterable[Node]) -> StageEstimate:
        """Of all that are not finished."""
        whole = StageEstimate(host_gib=NOTHING)
        for node in nodes:
            if self._pipeline.find(node) is None:
                whole = whole.then(self.of(node))
        return whole

    def seeds(self, node: Node) -> tuple[Range, str]:
        """How many a seeds node gives, and how that is known."""
        made = self._pipeline.find(node)
        if made is not None:
            count = float(made.summary["seeds"])
            return Range(count, count), f"{count:,.0f} seeds"
        section = needed(node.recipe.seeds, "seeds")
        most = float(self._sources(node, section) * section.max_per_task)
        if section.budget and section.budget.total:
            most = float(section.budget.total)
            return Range(most, most), "seeds from seeds.budget.total"
        return Range(most / 4, most), "seeds from seeds.max_per_task (a quarter to all)"

    def _sources(self, node: Node, section: SeedsSection) -> int:
        """The tasks and datasets that give seeds; of tasks yet to be built, their names."""
        include, made = section.include, self._data_of(node)
        if include and include.startswith("{data}") and made is None:
            return len(section.tasks) + len(section.own)
        return len(source_names(section, resolve_path(include, made) if include else None))

    def _data_of(self, node: Node) -> Artifact | None:
        """What the data stage made for a node, where it has."""
        data = node.inputs.get("data")
        return self._pipeline.find(data) if data is not None else None

    def _generate(self, node: Node) -> StageEstimate:
        section = needed(node.recipe.generate, "generate")
        seeds, known = self.seeds(node.inputs["seeds"])
        questions = seeds * section.per_seed
        role, writer = section.writing
        own = sum(each.votes for each in section.solving if each.role == role)
        answers = own * section.answer.longest
        replies = (section.question.longest + answers) / (1 + own)
        made = ask(
            *(self._pipeline, node, role, writer, questions),
            *(Range(1, 1) * (1 + own), replies, 1 if section.rephrase else section.shots),
        )
        for each in section.solving:
            if each.role != role:
                # Of a cascade nobody is sure, and no question that cannot be read is answered.
                least = 0 if each.below is not None else each.votes / 2
                solved = ask(
                    *(self._pipeline, node, each.role, each.teacher, questions),
                    *(Range(least, each.votes), each.sampling.longest, section.shots),
                )
                made = made.then(solved)
        bytes_written = made.output_tokens * 10 + made.requests * 300 + questions * 1000
        disk = bytes_written * Range(0.5, 2) * (1 / GIB)
        return replace(made, disk_gib=disk, basis=(known, *made.basis))

    def _filter(self, node: Node) -> StageEstimate:
        section = needed(node.recipe.filter, "filter")
        generate = needed(node.recipe.generate, "generate")
        seeds, known = self.seeds(node.inputs["seeds"])
        items = seeds * generate.per_seed
        finished = self.latest(node)
        if finished is not None and finished.summary.get("candidates"):
            asking = sum(row.get("engine_seconds", 0) for row in finished.summary.get("ledger", []))
            count = int(finished.summary["candidates"])
            each = max(0.0, float(finished.summary["seconds"]) - asking) / count
            made = StageEstimate(
                seconds=items * each * _AROUND, basis=(f"measured here on {count:,} items",)
            )
        else:
            made = StageEstimate(
                seconds=items * Range(1e-3, 2e-2) + Range(5, 30), basis=("assumed",)
            )
        made = replace(made, disk_gib=items * Range(500, 20_000) * (1 / GIB))
        if section.triviality:
            own = section.triviality.teacher
            role, teacher = (
                ("weak", own) if own else ("teacher", needed(generate.teacher, "generate.teacher"))
            )
            tried = ask(
                *(self._pipeline, node, role, teacher, items),
                *(Range(0, section.triviality.tries), generate.answer.longest, generate.shots),
            )
            made = made.then(tried)
        if section.judge:
            judge, once = section.judge.teacher, Range(0, 1)
            made = made.then(
                ask(self._pipeline, node, "judge", judge, items, once, _JUDGE_TOKENS, 1)
            )
        if section.leak_judge and not generate.rephrase:
            judge, most = section.leak_judge.teacher, Range(0, 3)  # how many are near is not known
            made = made.then(
                ask(self._pipeline, node, "leak_judge", judge, items, most, _JUDGE_TOKENS, 1)
            )
        audited = self.audit(node)
        return replace(made.then(audited), basis=(known, *made.basis, *audited.basis))

    def audit(self, node: Node) -> StageEstimate:
        """Of what the audit that follows a filter has models do."""
        return self._swaps(node).then(self._gradients(node))

    def _gradients(self, node: Node) -> StageEstimate:
        section = node.recipe.audit.gradients if node.recipe.audit else None
        if section is None:
            return StageEstimate()
        model = ModelSection(path=section.model)
        size = size_of_model(self._pipeline, node, "audit.gradients", model)
        # 6 operations for each of 50 to 512 tokens, and the sketch.
        work = Range(400, 3200) * (2.0 * section.items)
        seconds, on_gpu, basis = compute_seconds(size, work, 1, Range(0.02, 0.2), None)
        seconds = plus(seconds, START)
        hours = times(seconds, on_gpu / 3600)
        memory = times(Range(4, 8), size.total / GIB) if size else None
        return StageEstimate(
            seconds=seconds,
            gpu_hours=hours,
            dollars=times(hours, node.recipe.dollars_per_gpu_hour),
            device_gib=memory if on_gpu else NOTHING,
            host_gib=LITTLE if on_gpu else plus(memory, Range(1, 3)),
            basis=(f"gradients: {basis}",),
        )

    def _swaps(self, node: Node) -> StageEstimate:
        """How many items mention somebody is not known before."""
        section = node.recipe.audit.swaps if node.recipe.audit else None
        made = StageEstimate()
        if section is None:
            return made
        generate, once = needed(node.recipe.generate, "generate"), Range(1, 1)
        items = Range(0, section.requests)
        if judge := needed(node.recipe.filter, "filter").judge:
            made = made.then(
                ask(self._pipeline, node, "judge", judge.teacher, items, once, _JUDGE_TOKENS, 1)
            )
        for each in generate.solving:
            made = made.then(
                ask(
                    *(self._pipeline, node.inputs["generate"], each.role, each.teacher, items),
                    *(once, each.sampling.longest, generate.shots),
                )
            )
        return made

    def _train(self, node: Node) -> StageEstimate:
        if self._pipeline.kept_exports(node):
            basis = "models along the training, from its checkpoints: assumed"
            return StageEstimate(seconds=Range(10, 600), basis=(basis,))
        if not node.trains:
            return StageEstimate(seconds=Range(10, 600), basis=("a copy of the model: assumed",))
        return self.training(node)

    def training(self, node: Node) -> StageEstimate:
        """Of a training from its start, whatever is there of it."""
        if not node.trains:
            unknown = ("trained elsewhere",)
            return StageEstimate(seconds=None, gpu_hours=None, dollars=None, basis=unknown)
        train = needed(node.recipe.train, "train")
        tokens = needed(node.recipe.mixture, "mixture").tokens
        model = needed(node.recipe.model, "model")
        size = size_of_model(self._pipeline, node, "model", model)
        try:
            shape = shape_of_student(self._pipeline, node)
        except DataError:  # a config that transformers refuses: by the model's name
            shape = None
        finished = self.latest(node, "model")
        each = 6.0
        if shape is not None:
            each = shape.flops_per_token(train.sequence_length) / shape.active
            size = ModelSize(shape.total, shape.active)
        seconds, on_gpu, basis = compute_seconds(
            size, each * tokens, train.processes, Range(0.15, 0.45), train.peak_tflops
        )
        if seconds is not None:
            seconds = seconds * (4 / 3 if train.gradient_checkpointing else 1) + START
        if finished is not None and finished.summary.get("tokens"):
            before = int(finished.summary["tokens"])
            scale = float(finished.summary["seconds"]) * tokens / before
            basis = f"measured here on {before:,} tokens"
            processes = finished.summary.get("execution", {}).get("processes", train.processes)
            if on_gpu and processes != train.processes:  # on a CPU they share the cores
                scale *= processes / train.processes
                basis += f" by {processes:,} processes"
            seconds = _AROUND * scale + START
        memory, offloaded = None, 0.0
        if size is not None:
            memory, offloaded = training_gib(node.recipe, size, shape)
        host = Range(4, 16) + Range(1, 1) * offloaded if on_gpu else plus(memory, Range(1, 2))
        hours = times(seconds, train.processes / 3600 if on_gpu else 0)
        exported = 4 * (1 + len(curve_points(node.recipe)))
        checkpoints = train.keep_checkpoints + permanent_checkpoints(train, tokens)
        kept = checkpoints * checkpoint_bytes(train) + exported
        return StageEstimate(
            prompt_tokens=Range(tokens, tokens),
            seconds=seconds,
            gpu_hours=hours,
            dollars=times(hours, node.recipe.dollars_per_gpu_hour),
            device_gib=memory if on_gpu else NOTHING,
            host_gib=times(host, train.processes),
            disk_gib=times(Range(0.8, 1.5), size.total * kept / GIB) if size else None,
            basis=(basis,),
        )

    def _evaluate(self, node: Node) -> StageEstimate:
        section = needed(node.recipe.eval, "eval")
        documents = self._documents(node)
        model = needed(node.recipe.model, "model")
        size = size_of_model(self._pipeline, node, "model", model)
        finished = self.latest(node)
        if documents is None:
            seconds, on_gpu, basis = None, False, "unknown: sizes of some tasks are not known"
        else:
            answers = self._documents(node, per_sample=True) or documents
            work = Range(300, 6000) * (2.0 * answers)  # tokens of a document's requests
            gpus = section.processes * section.tensor_parallel
            seconds, on_gpu, basis = compute_seconds(size, work, gpus, Range(0.05, 0.4), None)
            seconds = plus(seconds, START)
            if finished is not None and finished.summary.get("documents"):
                count = int(finished.summary["documents"])
                each = float(finished.summary["seconds"]) / count
                seconds = _AROUND * _AROUND * (each * documents)
                basis = f"measured here on {count:,} documents"
        gpus = section.processes * section.tensor_parallel if on_gpu else 0
        hours = times(seconds, gpus / 3600)
        weights = times(Range(2, 5), size.total / GIB) if size else None
        return StageEstimate(
            seconds=seconds,
            gpu_hours=hours,
            dollars=times(hours, node.recipe.dollars_per_gpu_hour),
            device_gib=plus(weights, Range(1, 20)) if on_gpu else NOTHING,
            host_gib=Range(4, 16) if on_gpu else plus(weights, Range(1, 4)),
            disk_gib=Range(100, 5000) * ((documents or 0) / GIB),
            basis=(basis,),
        )

    def _tokenize(self, node: Node) -> StageEstimate:
        mixture = needed(node.recipe.mixture, "mixture")
        part = node.definition.part
        near = mixture.sources[part].nearest
        if near and node.stage == "nearest":  # which reads all that it chooses from
            part = near.pool
        drawn = mixture.tokens_of(part) or mixture.tokens
        tokens = Range(1 / max(1.0, mixture.max_repetition), 4) * drawn
        speed, basis = Range(2e4, 1e6), "sizes from mixture.phases (to 4 times), speed assumed"
        finished = self.latest(node)
        if finished is not None and finished.summary.get("tokens"):
            speed = Range(0.5, 2) * (finished.summary["tokens"] / finished.summary["seconds"])
            basis = "sizes from mixture.phases (to 4 times), speed measured here"
        seconds = Range(tokens.low / speed.high, tokens.high / speed.low) + Range(2, 10)
        return StageEstimate(
            seconds=seconds, disk_gib=tokens * Range(2, 4) * (1 / GIB), basis=(basis,)
        )

    def _other(self, node: Node) -> StageEstimate:
        made = self.latest(node)
        size = self._size(node)
        if made is None or not (before := _size_made(made)) or size is None:
            return StageEstimate(seconds=_ASSUMED_SECONDS[node.stage], basis=("assumed",))
        scale = size * (1 / before)
        written = sum(record.bytes for record in made.manifest.files.values())
        return StageEstimate(
            seconds=scale * float(made.summary["seconds"]) * _AROUND,
            disk_gib=scale * (written / GIB),
            basis=(f"measured here on {before:,.0f} items",),
        )

    def _size(self, node: Node) -> Range | None:
        """What the time of a stage grows with, in the unit of `_size_made`."""
        if node.stage == "seeds":
            return self.seeds(node)[0]
        documents = self._documents(node) if node.stage == "benchmarks" else None
        sizes = {"data": _data_size(node.config), "compare": len(node.inputs)}
        found = documents if node.stage == "benchmarks" else sizes.get(node.stage)
        return None if not found else Range(found, found)

    def _documents(self, node: Node, per_sample: bool = False) -> int | None:
        """Documents of all tasks; `per_sample`: each as often as it is answered."""
        section = needed(node.recipe.eval, "eval")
        include = section.include
        folder = resolve_path(include, self._data_of(node)) if include else None
        leaves, counts = planned_documents(node.recipe, folder)
        samples = dict.fromkeys(counts, 1)
        for name, protocol in section.protocols.items() if per_sample else ():
            samples |= dict.fromkeys(leaves[name], protocol.samples or 1)
        known = [count * samples[name] for name, count in counts.items() if count]
        return sum(known) if len(known) == len(counts) else None

    def latest(self, node: Node, role: str | None = None) -> Artifact | None:
        """The last finished artifact of the stage; with the same model, where a role is given."""

        def model_of(config: object, inputs: object) -> object:
            assert isinstance(config, dict) and isinstance(inputs, dict)
            return (config.get(role), inputs.get(role)) if role else None

        wanted = model_of(node.config, node.input_fingerprints)
        found = [
            made
            for made in self._pipeline.store.finished(node.stage)
            if model_of(made.manifest.config, made.manifest.inputs) == wanted
        ]
        return max(found, key=lambda made: made.manifest.created, default=None)


def limit_dollars(pipeline: Pipeline, limit: float, wanted: Sequence[Node] | None = None) -> None:
    """Stop the pipeline before it has spent more; RecipeError where nothing has a price.

    `wanted`: what will cost; None: all stages that are not finished.
    """
    estimates = Estimates(pipeline)
    missing = wanted
    if missing is None:
        missing = [node for node in pipeline.nodes if pipeline.find(node) is None]
    if missing and not any(_is_priced(node) for node in missing):
        raise RecipeError(
            f"{pipeline.origin}: --max-dollars, but nothing that would run has a price",
            "set dollars_per_gpu_hour, or the dollars_per_... keys of the teachers",
        )

    def least(node: Node) -> float:
        dollars = estimates.of(node).dollars if node.stage == "evaluate" else None
        return dollars.low if dollars else 0.0

    pipeline.spending.limit, pipeline.least_dollars = limit, least


def _is_priced(node: Node) -> bool:
    recipe = node.recipe
    sections = [section for section in (recipe.generate, recipe.filter) if section]
    teachers = [teacher for section in sections for teacher in teachers_of(section).values()]
    return bool(recipe.dollars_per_gpu_hour) or any(
        teacher.dollars_per_hour
        or teacher.dollars_per_million_prompt_tokens
        or teacher.dollars_per_million_output_tokens
        for teacher in teachers
    )


def _data_size(config: object) -> int:
    assert isinstance(config, dict)
    return int(sum(config.get(k, 0) for k in ("train_per_family", "teacher_documents")))


def _size_made(made: Artifact) -> float:
    stage, summary = made.manifest.stage, made.summary
    if stage == "data":
        return _data_size(made.manifest.config)
    if stage == "compare":
        return len(made.manifest.inputs)
    return float(summary.get({"seeds": "seeds", "benchmarks": "documents"}.get(stage, ""), 0))
