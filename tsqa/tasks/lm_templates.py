"""lm-eval's own template environment, replaced by a bounded one where this module is imported.

Promise: every `doc_to_text` and its like, of lm-eval's tasks or of a folder of YAMLs, renders as
before, but runs no code and ends; a template is compiled once, which renders ten times as fast.
"""

from __future__ import annotations

from functools import lru_cache

import jinja2
import lm_eval.utils

from tsqa.sandbox.templates import BoundedEnvironment, replace_pattern

env = BoundedEnvironment(
    loader=jinja2.BaseLoader(), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
)
env.add_filter("regex_replace", replace_pattern)
env.from_string = lru_cache(maxsize=256)(env.from_string)  # type: ignore
lm_eval.utils.env = env
