"""What a name may be, and the one way in which a name becomes the name of a file.

Guarantees: a name that passed a check here is one line of printable text, never a path out of a
folder and never a word that means something else; two names are two files, also where a file
system takes `A` and `a` for one.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Collection
from typing import Annotated

from pydantic import AfterValidator

from tsqa.secrets import register_url, split_url

LONGEST = 100
"""Characters of a name, as W&B and the terminal show it."""
_OURS = frozenset(
    {"manifest", "parts", "permuted", "scratch", "shards", "sources", "tokenizer"}
    | {"aux", "con", "nul", "prn"}
)
"""Names that stages use for files next to those of sources and tasks (and Windows devices)."""
_LONGEST_MADE = 10_000
"""Characters of a name composed of settings; it is never cut."""
PARTS = (
    "seeded families",
    "same capability",
    "other capabilities",
    "other families",
    "unknown family",
)
"""Rows into which a table splits its macro average, by what was seeded from."""
_ROW = re.compile(r"macro(:.*)?", re.DOTALL)
_SEED = re.compile(r",seed=-?\d+$")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
"""One slash: `Path` makes `s3:/bucket` of `s3://bucket`, which is then a folder of that name."""
STORES = ("s3", "gs", "hf", "https", "http")
"""Schemes of addresses that data is read from."""
_TYPED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
_LONGEST_FILE = 120
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories: control, format (such as a change of direction), lone surrogates ..."""


def file_name(name: str) -> str:
    """A file name for any name; different names give different file names.

    Lower-case letters, digits and `._-` stay; all else is `%` and the hexadecimal digits of its
    bytes, as are a first `.` or `-`, a last `.`, and the first letter of a file of ours. What is
    then too long is cut and closed by `%-` and a hash, which nothing else holds.
    """
    ours = name.partition(".")[0] in _OURS
    made = []
    for place, character in enumerate(name):
        edge = (place == 0 and (character in ".-" or ours)) or (
            place == len(name) - 1 and character == "."
        )
        if character in _PLAIN and not edge:
            made.append(character)
        else:
            raw = character.encode("utf-8", "surrogatepass")
            made += [f"%{byte:02x}" for byte in raw]
    text = "".join(made) or "%"
    if len(text) <= _LONGEST_FILE:
        return text
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[: _LONGEST_FILE // 2]}%-{digest[:48]}"


def path_problem(path: str) -> str:
    """Why a text is no path of this machine; empty if it is one."""
    if _ADDRESS.match(path):
        return (
            "an address, where a path of this machine is taken: give one on a disk (a hub ID is "
            "written ORG/NAME)"
        )
    return ""


def data_problem(path: str) -> str:
    """Why a text is no path of data: of this machine, or an address that can be read."""
    if not _ADDRESS.match(path):
        return ""
    scheme, _, rest = path.partition("://")
    if scheme not in STORES:
        return f"an address that is not read: use {', '.join(f'{one}://' for one in STORES)}"
    if not re.match(r"[^/?#]", rest):
        return f"an address that names no place: write what follows {scheme}://"
    split = split_url(path)
    if split.login is not None:
        register_url(path)
        return "an address with a login, which is a secret: the environment holds those"
    if re.search(r"[?#]", path):
        register_url(path)
        return (
            "an address with `?` or `#`, which may be a secret and end: give one without; "
            "the environment holds logins"
        )
    if "*" in path:
        return "patterns are not read: name an object, or the prefix above several"
    if {"", ".", ".."} & {*rest.rstrip("/").split("/")}:
        return "a store has no folders to step over: write the name without `.`, `..` and `//`"
    if scheme == "http" and not re.match(r"(localhost|127\.0\.0\.1|\[::1\])([:/]|$)", rest):
        return "http:// is read from this machine alone: use https://"
    return ""


def name_problem(name: str, banned: Collection[str] = (), longest: int = LONGEST) -> str:
    """Why a text is not a valid name; empty if it is. `banned`: what it must not contain."""
    if not name.strip():
        return "a name is empty"
    if len(name) > longest:
        return f"a name has {len(name):,} characters; use {longest} at most"
    for character in name:
        if unicodedata.category(character) in _UNPRINTABLE:
            return f"a name holds the character U+{ord(character):04X}, which is not printable"
    if name != unicodedata.normalize("NFC", name):
        return "a name has accents as characters apart: write it in Unicode's composed form (NFC)"
    if name != name.strip():
        return "a name begins or ends with white space"
    if not (name[0].isalnum() or name[0] == "_"):
        return "a name begins with a letter, a digit or _"
    held = [f"`{part}`" for part in banned if part in name]
    return f"a name may not hold {', '.join(held)}" if held else ""


def source_problem(name: str) -> str:
    """Why a source of the mixture cannot have this name: its key is `mixture.<name>`."""
    if ".." in name.split("/") or "." in name.split("/"):
        return "a name is no path"
    return name_problem(name, ("@", " - ", ",", "=", "[", "]", "{", "}", "$", "\\"))


def task_problem(name: str) -> str:
    """Why a task, or a named macro average, cannot have this name: it is a row of the table."""
    if _ROW.fullmatch(name):
        return "`macro` and what begins with `macro:` are reserved for rows of the table"
    if name in PARTS:
        return f"`{name}` is the name of a part of the macro average: choose another"
    return name_problem(name)


def arm_problem(name: str, given: bool) -> str:
    """Why an arm cannot have this name; `given`: set by `name`, not derived from the settings."""
    if name.casefold() in ("base", "compare"):
        return f"`{name}` is the name of something else: choose another"
    if _SEED.search(name):
        return "`,seed=N` at the end is what tells the seeds of an arm apart"
    if given:
        return name_problem(name, ("@", " - ", "/"))
    return name_problem(name, ("@", " - "), longest=_LONGEST_MADE)


def is_nameable(text: str) -> bool:
    """Whether a value can be part of an arm's name unchanged."""
    if text != text.strip() or _SEED.search(f"={text}"):
        return False
    return not name_problem(f"x{text}", ("@", " - "))


def _refuse(problem: Callable[[str], str]) -> AfterValidator:
    def check(name: str) -> str:
        if found := problem(name):
            raise ValueError(found)
        return name

    return AfterValidator(check)


def plain_name(name: str) -> str:
    """A name as like this one as can be typed; empty where nothing of it can."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-")[:LONGEST]


def _plain_problem(name: str) -> str:
    if not _TYPED.fullmatch(name):
        like = plain_name(name)
        return "use only letters (a to z), digits and `._-`, starting with a letter or a digit" + (
            f", such as {like}" if like else ""
        )
    return name_problem(name)


def version_problem(name: str) -> str:
    """Why a version of a dataset cannot have this name, which a folder has."""
    if name.endswith((".lock", ".partial", ".yaml", ".yml")):
        return "a version does not end like a file of ours"
    return _plain_problem(name)


def _recipe_problem(name: str) -> str:
    if name.casefold() in ("artifacts", "audits", "releases", "wandb"):
        return f"the folder `{name}` next to the runs is reserved; choose another name"
    return _plain_problem(name)


def _wandb_problem(name: str) -> str:
    return name_problem(name, ("/", "\\", "#", "?", "%", ":"))


LocalPath = Annotated[str, _refuse(path_problem)]
"""A folder or file of this machine, or a hub ID where one is taken."""
DataAddress = Annotated[str, _refuse(data_problem)]
"""A file or folder of this machine, a hub ID, or an address in a store."""
PlainName = Annotated[str, _refuse(_plain_problem)]
"""Of an own dataset: a part of ids that a person types."""
RecipeName = Annotated[str, _refuse(_recipe_problem)]
"""Also the name of the recipe's folder below `runs`."""
SourceName = Annotated[str, _refuse(source_problem)]
TaskName = Annotated[str, _refuse(task_problem)]
WandbName = Annotated[str, _refuse(_wandb_problem)]
