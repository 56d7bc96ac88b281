"""Objects copied to this machine, for what reads files alone.

Guarantees: a copy is whole and of one version of its object; each version is fetched once.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from pathlib import Path

from tsqa.errors import DataError
from tsqa.remote.paths import PART, RemotePath
from tsqa.user_cache import cache_folder


def local_copy(path: RemotePath) -> Path:
    """The copy of an object as it is now, below `$XDG_CACHE_HOME/tsqa/objects`."""
    seen = path.look()
    if seen is None or seen.state is None:
        raise DataError(f"{path}: no such object", "correct the path")
    version = hashlib.blake2b(repr(seen.state).encode(), digest_size=16).hexdigest()
    copy = cache_folder() / "objects" / version / path.name
    if copy.is_file() and copy.stat().st_size == seen.state.size:
        return copy
    copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = copy.with_name(f"{copy.name}.{secrets.token_hex(4)}.tmp")
    try:
        with seen.open("rb", 0) as handle, temporary.open("wb") as out:
            shutil.copyfileobj(handle, out, PART)
        after = path.look()
        if after is None or after.state != seen.state:
            raise DataError(f"{path}: changed while it was copied", "run the same command again")
        temporary.replace(copy)
    finally:
        temporary.unlink(missing_ok=True)
    return copy
