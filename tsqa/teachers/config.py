"""The teachers that a recipe names, and what decides what each writes."""

from __future__ import annotations

import re
from pathlib import Path

from tsqa.errors import DataError
from tsqa.hub.identify import model_config
from tsqa.recipe import FilterSection, GenerateSection, TeacherSection
from tsqa.store.identity import Json
from tsqa.teachers.http.url_file import read_urls

_KEYS = {
    "teacher": "generate.teacher",
    "writer": "generate.writer",
    "cascade": "generate.cascade.teacher",
    "judge": "filter.judge.teacher",
    "weak": "filter.triviality.teacher",
    "leak_judge": "filter.decontaminate.semantic.judge.teacher",
}
_SOLVER = re.compile(r"solver(\d+)")


def teacher_key(role: str) -> str:
    """Where the recipe names the model of a role."""
    found = _SOLVER.fullmatch(role)
    return f"generate.solvers.{found[1]}.teacher" if found else _KEYS[role]


def is_teacher(role: str) -> bool:
    """Whether a name is the role of a model that is asked."""
    return role in _KEYS or _SOLVER.fullmatch(role) is not None


def teachers_of(section: GenerateSection | FilterSection) -> dict[str, TeacherSection]:
    """Role -> teacher, of all that a section names."""
    if isinstance(section, GenerateSection):
        return dict([section.writing]) | {each.role: each.teacher for each in section.solving}
    found = {"judge": section.judge.teacher} if section.judge else {}
    if section.triviality and section.triviality.teacher:
        found["weak"] = section.triviality.teacher
    if section.leak_judge:
        found["leak_judge"] = section.leak_judge.teacher
    return found


def hourly(teacher: TeacherSection, gpu_hour: float) -> TeacherSection:
    """The teacher with a price: a local one without its own costs what its GPUs cost."""
    if not teacher.loads_model or teacher.dollars_per_hour or not gpu_hour:
        return teacher
    price = gpu_hour * teacher.gpus
    return teacher.model_copy(update={"dollars_per_hour": price})


def count_engines(teacher: TeacherSection) -> int:
    """Copies of the model that are asked side by side; with a file, those that it lists now."""
    if teacher.engines is not None:
        return teacher.engines
    try:
        return len(read_urls(Path(str(teacher.urls))))
    except DataError:
        return 1


def teacher_config(teacher: TeacherSection) -> dict[str, Json]:
    """What decides a teacher's texts, for a fingerprint."""
    config = teacher.data_config()
    if not teacher.loads_model:  # `path` is a name at the endpoint, not one of this machine
        return config
    return {**config, "model": model_config(teacher.model)}
