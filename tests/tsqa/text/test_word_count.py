"""Words are counted where spaces part them, and where nothing does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsqa.text.normalise import count_words, first_words, word_pieces


@given(st.text(st.characters(max_codepoint=0x0E00)))
def test_with_spaces_words_are_what_stands_between_them(text: str) -> None:
    assert count_words(text) == len(text.split())
    assert first_words(text, 3) == " ".join(text.split()[:3])


@given(
    st.text(st.sampled_from("a7 \n.'\u201c\u3002\u300c\u300d\u6771\u4eac\u0e01\u0e34\u0301\u00e9"))
)
def test_pieces_are_the_text(text: str) -> None:
    assert "".join(word_pieces(text)) == text.lstrip()
    assert first_words(text, len(text)) == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("\u6771\u4eac\u306f\u5927\u304d\u3044\u3002", 6),
        ("\u300c\u6771\u4eac\u300d\u30012024\u5e74 Tokyo", 5),
        ("\u0e01\u0e34\u0e19 \u0e02\u0e49\u0e32\u0e27", 5),
        ("\u041c\u043e\u0441\u043a\u0432\u0430 \u2014 \u0433\u043e\u0440\u043e\u0434", 3),
        ("\uc11c\uc6b8\uc740 \ud06c\ub2e4", 2),
        ("", 0),
    ],
)
def test_letters_count_where_no_space_parts_words(text: str, count: int) -> None:
    assert count_words(text) == count
