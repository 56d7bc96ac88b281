"""Prompts are files: YAML front matter, then Jinja blocks for the forms that teachers need.

A set is a folder with a file per answer kind (`reading.jinja` for questions about a passage,
`any.jinja` for every kind without a file), or one file for everything. The block `completion`
is the few-shot form, the blocks `system` and `user` are the chat form; a file without blocks is
the completion form alone.

Guarantees: a prompt is identified by the sha256 of its file and of all that it imports; every
template is filled with invented items as it loads, so that an undefined variable is an error before
any work; shipped names and paths both work. A template runs no code and reads only files of its
folder and the shipped ones: see `tsqa.sandbox.templates`.
"""

from tsqa.prompts.front_matter import CRITERIA
from tsqa.prompts.load import load_prompts, shipped_prompts
from tsqa.prompts.prompt import Form, Prompt, PromptSet
from tsqa.prompts.variables import Role

__all__ = ["CRITERIA", "Form", "Prompt", "PromptSet", "Role", "load_prompts", "shipped_prompts"]
