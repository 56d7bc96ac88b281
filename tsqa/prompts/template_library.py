"""The templates that a prompt may import, and what it may name."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import jinja2
import jinja2.meta

from tsqa.errors import DataError
from tsqa.prompts.variables import Role, names_of
from tsqa.sandbox.templates import BoundedEnvironment

SHIPPED = Path(__file__).parent
"""The folder of the shipped prompts: a folder per role, and macros."""


class TemplateLibrary:
    """Templates of the folder of a set, then the shipped ones."""

    def __init__(self, folder: Path, role: Role) -> None:
        self._folders = (folder, SHIPPED)
        self._role = role
        self._variables = names_of(role)
        self._imports: dict[Path, list[Path]] = {}
        self.environment = BoundedEnvironment(
            loader=jinja2.FileSystemLoader(self._folders),
            undefined=jinja2.StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        # Jinja's own writes < > & ' as a page would.
        self.environment.add_filter("json", partial(json.dumps, ensure_ascii=False))

    def check(self, path: Path, body: str, first_line: int = 1) -> list[Path]:
        """The files that a template imports, directly or not; DataError on an unknown variable."""
        try:
            tree = self.environment.parse(body)
            used = jinja2.meta.find_undeclared_variables(tree)  # knows the filters too
        except jinja2.TemplateSyntaxError as error:
            line = first_line + error.lineno - 1
            raise DataError(f"{path}:{line}: {error.message}", "correct the template") from error
        unknown = used - set(self._variables) - self.environment.globals.keys()
        if unknown:
            raise DataError(
                f"{path}: undefined variable {', '.join(sorted(unknown))}",
                f"the variables of a {self._role} prompt are: {', '.join(self._variables)}",
            )
        found: dict[Path, None] = {}
        for name in sorted({n or "" for n in jinja2.meta.find_referenced_templates(tree)}):
            files = [folder / name for folder in self._folders if _is_inside(folder / name, folder)]
            if not files:
                raise DataError(
                    f"{path}: imports {name!r}, which is not there",
                    f"put it into {self._folders[0]}, and write its name as a plain string",
                )
            found.update(dict.fromkeys([files[0], *self._imports_of(files[0])]))
        return list(found)

    def variables_of(self, body: str) -> set[str]:
        """The variables that a checked template names."""
        return jinja2.meta.find_undeclared_variables(self.environment.parse(body))

    def _imports_of(self, file: Path) -> list[Path]:
        if file not in self._imports:
            self._imports[file] = []  # ends a circle of imports
            self._imports[file] = self.check(file, read_text(file))
        return self._imports[file]


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8: {error}", "save the file as UTF-8") from error


def _is_inside(path: Path, folder: Path) -> bool:
    """A file of the folder; a link that leads out of it could show any file of the user."""
    return path.is_file() and path.resolve().is_relative_to(folder.resolve())
