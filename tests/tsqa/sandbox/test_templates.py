"""Promises of tsqa.sandbox.templates: what others wrote renders as ever, runs no code, and ends."""

# ruff: noqa: E501 - programs and templates are data
from __future__ import annotations

import threading
import time
from pathlib import Path

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsqa.errors import DataError
from tsqa.prompts import load_prompts
from tsqa.sandbox.template_bounds import SECONDS, TemplateLimitError
from tsqa.sandbox.templates import BoundedEnvironment, replace_pattern

BOUNDED = BoundedEnvironment(undefined=jinja2.StrictUndefined)
BOUNDED.add_filter("regex_replace", replace_pattern)
PLAIN = jinja2.Environment(undefined=jinja2.StrictUndefined)
VALUES = {"word": "one two", "many": ["a", "b", "c"], "rows": [{"k": 1, "v": "x"}], "number": 3}

HONEST = [
    "{{ word ~ ' ' ~ number ~ many }}",
    "{% for one in many %}{{ loop.index }}/{{ loop.length }}{{ one }}{{ ', ' if not loop.last }}"
    "{% else %}none{% endfor %}",
    "{% for k, v in rows[0].items() %}{{ k }}={{ v }};{% endfor %}",
    "{% macro m(a, b='x') %}[{{ a }}{{ b }}{{ caller() if caller is defined }}]{% endmacro %}"
    "{{ m(1) }}{% call m(2, b=[1, 2]) %}c{% endcall %}",
    "{% set ns = namespace(n=0) %}{% for x in many %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "{{ many[1:] }}{{ word[::-1] }}{{ many[:2]|join('-') }}{{ word[-3:]|upper }}",
    "{{ many|map('upper')|join(', ') }}{{ rows|map(attribute='v')|list }}{{ [3, 1]|sort }}",
    "{{ '%s is %05.1f' % (word, 2.5) }}{{ '{:>5}|{k}'.format(number, k=word) }}",
    "{{ word.split(' ')[0].center(9) }}{{ word.replace('o', '00') }}{{ ','.join(many) }}",
    "{{ {'a': 1, 'b': (1, 2)} }}{{ 2 ** 10 }}{{ 'ab' * 3 }}{{ 7 // 2 }}{{ -number }}",
    "{% set text %}{{ word }}!{% endset %}{{ text|indent(2, true) }}{{ text|replace('!', '?') }}",
    "{% for x in range(3) if x != 1 %}{{ x }}{% endfor %}{{ number in [1, 3] }}{{ many is string }}",
    "{{ many|batch(2, '-')|list }}{{ rows|tojson }}{{ word|truncate(5) }}{{ missing|default('d') }}",
    "{% for a in [[1, [2]], [3, []]] recursive %}{{ a[0] if a is iterable else a }}{% endfor %}",
    "{{ joiner(', ')() }}{{ dict(a=1).a }}{{ many|first }}{{ many|last }}{{ word|wordcount }}",
]
CODE = [
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['os'].system('id') }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.environment }}",
    "{{ range.__self__ }}{{ dict.__base__ }}",
    "{{ '{0.__class__}'.format(word) }}",
    "{{ '{a.__class__}'.format_map({'a': word}) }}",
    "{{ [word]|map(attribute='__class__')|list }}",
    "{{ word|attr('__class__') }}",
    "{{ many.append('d') }}",
    "{% macro m() %}{% endmacro %}{{ m.__globals__ }}",
    "{{ m.__call__.__func__ }}",
    "{% set f = '{0.__class__.__base__}'.format %}{{ f(word) }}",
]
BOMBS = [
    '{{ "x" * 10**10 }}',
    "{{ 10 ** (10 ** 8) }}",
    "{{ 2 ** 4000 * 2 ** 4000 }}",
    "{{ [0] * 10**9 }}",
    "{{ (word * 1000000)|length }}",
    "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "{% for a in word * 100000 %}{% for b in word * 100000 %}{{ a }}{% endfor %}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
    "{% set ns = namespace(x='x') %}{% for i in range(50) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(50) %}{% set ns.x = [ns.x, ns.x] %}"
    "{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(50) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x='x') %}{% for i in range(50) %}"
    "{% set t %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = t %}{% endfor %}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (1000000000, 1) }}",
    "{{ '%.1000000000f' % 1 }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:{}}'.format(1, 1000000000) }}",
    "{{ '%s' * 100000 % tuple }}",
    "{{ word.center(10**9) }}",
    "{{ word.zfill(10**9) }}",
    "{{ (5).to_bytes(10**9, 'big') }}",
    "{{ ('\t' * 1000).expandtabs(10**8) }}",
    "{{ ('x' * 100000).replace('x', 'y' * 100000) }}",
    "{{ ('x' * 100000)|replace('x', 'y' * 100000) }}",
    "{{ ('x' * 100000).join('x' * 100000) }}",
    "{{ ('x' * 100000)|join('y' * 100000) }}",
    "{{ word|center(10**9) }}",
    "{{ ('\n' * 100000)|indent(10**9) }}",
    "{{ ('\n' * 100000)|indent('x' * 100000) }}",
    "{{ many|tojson(indent=10**9) }}",
    "{{ many|batch(10**9, 'x')|list }}",
    "{{ many|slice(10**9)|list }}",
    "{{ ('<!--' * 900000 ~ '-->')|striptags }}",
    "{{ 1.5|round(10**9) }}",
    "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
    "{{ range(100000)|map('center', 10000)|list|length }}",
    "{% block b %}{{ self.b() }}{% endblock %}",
    "{{ ('a' * 60 ~ '!')|regex_replace('(a|aa)+$', '') }}",
    "{% for x in many recursive %}{{ loop(many) }}{% endfor %}",
    "{% set s = 'x' * 3000000 %}" + "{% set t = s[1:] %}" * 200,
]


@pytest.mark.parametrize("source", HONEST)
def test_honest_templates_render_as_in_plain_jinja(source: str) -> None:
    assert BOUNDED.from_string(source).render(VALUES) == PLAIN.from_string(source).render(VALUES)


@given(st.lists(st.text(max_size=5), max_size=4), st.text(max_size=9), st.integers(-5, 5))
def test_any_values_render_as_in_plain_jinja(many: list[str], word: str, number: int) -> None:
    source = (
        "{% for x in many %}{{ loop.index0 ~ x }}{{ x[:number] }}{% endfor %}"
        "{{ many|join(word) }}{{ word * number }}{{ [many, (word, number)] }}"
        "{{ word.replace('0', word) }}{{ '%s' % number }}{{ many[number:] }}"
    )
    values = {"many": many, "word": word, "number": number}
    assert BOUNDED.from_string(source).render(values) == PLAIN.from_string(source).render(values)


@pytest.mark.parametrize("source", CODE)
def test_no_template_reaches_python(source: str) -> None:
    try:
        text = BOUNDED.from_string(source).render(VALUES)
    except jinja2.TemplateError:
        return
    assert text == "[Undefined]"


@pytest.mark.parametrize("source", BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_is_an_error_in_time(source: str) -> None:
    started = time.monotonic()
    with pytest.raises((jinja2.TemplateError, OverflowError, RecursionError, TypeError)):
        BOUNDED.from_string(source).render(VALUES)
    assert time.monotonic() - started < SECONDS + 30


def test_the_bounds_hold_in_threads_and_start_anew_with_each_rendering() -> None:
    template = BOUNDED.from_string("{% for a in range(90000) %}{% endfor %}done")
    found: list[str] = []

    def render() -> None:
        found.extend(template.render() for _ in range(8))

    threads = [threading.Thread(target=render) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["done"] * 24


@pytest.mark.parametrize(
    "source",
    ["{{ " + "(" * 5000 + ")" * 5000 + " }}", "{{ " + "1+" * 20000 + "1 }}", "x" * 400_000],
)
def test_what_cannot_be_compiled_is_a_syntax_error(source: str) -> None:
    with pytest.raises(jinja2.TemplateSyntaxError):
        BOUNDED.from_string(source)


@pytest.mark.parametrize("body", [CODE[0], CODE[1], BOMBS[0], "{{ '{:1000000000}'.format(1) }}"])
def test_a_hostile_prompt_is_refused_by_file(tmp_path: Path, body: str) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text(f"---\nid: mine\nversion: 1\nkind: any\n---\n{body}", encoding="utf-8")
    with pytest.raises(DataError, match=r"mine\.jinja") as caught:
        load_prompts(str(path), "answer", "generate.prompts.answer")
    assert "uid=" not in str(caught.value)


def test_a_link_out_of_the_folder_is_not_imported(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("password", encoding="utf-8")
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "_link").symlink_to(secret)
    head = "---\nid: mine\nversion: 1\nkind: any\n---\n"
    (folder / "mine.jinja").write_text(head + '{% include "_link" %}', encoding="utf-8")
    with pytest.raises(DataError, match="imports '_link', which is not there"):
        load_prompts(str(folder), "answer", "generate.prompts.answer")


def test_a_task_renders_within_the_bounds_of_lm_eval_s_environment() -> None:
    import lm_eval.utils

    from tsqa.tasks.patches import bound_task_templates

    bound_task_templates()

    assert lm_eval.utils.apply_template(
        "{{a}}: {{b|regex_replace('o+', '0')}}\n", {"a": 1, "b": "foo"}
    ) == ("1: f0\n")
    with pytest.raises(jinja2.TemplateError):
        lm_eval.utils.apply_template(CODE[1], {})
    with pytest.raises(TemplateLimitError):
        lm_eval.utils.apply_template(BOMBS[0], {})
