"""Promises of plain letters: both sides of a comparison come out the same, whatever they wore."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsqa.decontaminate.undress import join_hyphenated, undress

PLAIN = {
    "caf\u00e9 cafe\u0301": "cafe cafe",
    "\u0141\u00f8dz \u0131s \u1d00 town": "Lodz is a town",
    "\u0421\u0430ts eat": "Cats eat",
    "\u0399s it": "Is it",
    "ze\u200bro wi\u00addth \ufeffx": "zero width x",
    "&lt; &amp; caf&eacute; &#65;&#x42;": "< & cafe AB",
    "&amp;lt;b&amp;gt;twice&amp;lt;/b&amp;gt;": "twice",
    "<p class='x'>one</p><p>two</p>": " one  two ",
    "<b>W</b>ord <!-- no --> x<sup>2</sup>": "Word  x^2",
    r"\textbf{bold} \u0063at": "bold cat",
    "_what_ is snake_case": " what  is snake case",
    "<br>": " tagbr  ",
    "<code>&lt;/b&gt;</code>": " untagb  ",
    '<img src="a.png">': ' tagimg  src="a.png" ',
    "What does <b> do?": "What does  tagb   do?",
    "<b>What</b> does &lt;i&gt; do?": "What does  tagi   do?",
    "the <p> tag": "the  tagp   tag",
    "<b>\n<hr>\n<i>": " tagb  \n taghr  \n tagi  ",
    "who?</b>\n</p>\n</li>\n</ul> A": "who?\n \n \n  A",
    "What does </b> do?": "What does  untagb   do?",
    "A) <b> B) <hr> C) <i> x": "A)  tagb   B)  taghr   C)  tagi   x",
    "one <br> two <br> three <br>": "one   two   three  ",
    "<ul>\n<li>one\n<li>two\n</ul>": " \n one\n two\n ",
    "<s> one </s>": " one ",
    "<i>one\n\ntwo": "one\n\ntwo",
    "> quoted\n> twice": " quoted\n twice",
    "&nbsp;&gt;&gt;&gt;&nbsp;run(5)": " run(5)",
    "\u200f\u202b>\u202c x\n\uff1e\uff1e \uff59": " x\n y",
    "is%20it%3F": "is it?",
    "the+cat+%26+a+dog": "the cat & a dog",
    "a+dog+is+big+___": "a dog is big    ",
    r"caf\\u00e9 \"is\"\nWhat\tnow": 'cafe "is"\nWhat\nnow',
    r"\ud83d": "",
    "Gr=C3=A9y =3D x": "Grey = x",
    f"{'x ' * 35}wat=\ner =20\nis": f"{'x ' * 35}water  \nis",
    "Is~it~(now)~7?": "Is it (now) 7?",
    "an~ox at~3": "an ox at 3",
    "$5.00 for 3.0.": "$5 for 3.",
    r"\[\mathrm{now~is}\]": " now is ",
    "see [[Cat (animal)|cats]] and [dogs](https://a.b/c)!": "see cats and dogs!",
    "a [b]big[/b] dog[12], so.[3]": "a big dog, so.",
    '<row id="1"><q>is</q></row> wa<w:t>ter</w:t>': " is  water",
    " * one two\n * three": "one two\nthree",
    "  7: one\n  8: two\n 11: on": "one\ntwo\non",
    "1 one\n2 two\n3 three": "one\ntwo\nthree",
    "4\n00:01:01,000 --> 00:01:04,500\nwho is": "\nwho is",
    "s\u0336o\u0336 \u0336i\u0336s\u0336": "so is",
    "\U0001f178\U0001f182 \U0001f158\U0001f163": "IS IT",
    "zer\u3164o wid\x07th": "zero width",
    "which\u200bof\u200bthese\u200bbirds\u200bcan": "which of these birds can",
    "\u202e?ti si\u202c": "is it?",
    "\x1b[1;31mred\x1b[0m w\x1b[4mor\x1b[0md": "red word",
    "b\bbo\bol\bld\bd _\bso": "bold so",
    "\u0663 apples": "3 apples",
    r"\u003cp\u003efo\u003ci\u003eur\u003c/i\u003e\u0026nbsp;birds": " four birds",
    "is%2520it%253F": "is it?",
    "don\u00e2\u20ac\u2122t\u00c2\u00a0know\u00c2 me": "don\u2019t know me",
    r"{\rtf1\ansi {\b caf\'e9} is\par}": "cafe is",
    r"c\'{a}f\'e \textsc{is} {\bf now}": "cafe is now",
    "**fo**ur *birds* so '''big''' /so/": "four birds so big so",
    "w_h_i_c_h o_f t_h_e_s_e b_i_r_d_s c_a_n snake_case": "which of these birds can snake case",
    "\u2581whi ch \u2581of \u2581the se \u2581bir ds \u2581can": " which of these birds can",
    "so | a b | 5 |\n|---|:---:|\n| c | d": "so   a b   5  \n \n  c   d",
    '<a href="x" title="which of these birds">go</a>': "go\nwhich of these birds",
    '<i text="who"/><o id="x" answer="is">it</o>': " it \nwho\nis",
    r"\ud83d\ude00 x": "\U0001f600 x",
    "\U0001f478\U0001f479 x \U0001f525": " u1f478  u1f479  x \U0001f525",
    "WhichOfTheseBirdsCanSing": "Which Of These Birds Can Sing",
    "which/of/these/birds/can/sing/now": "which of these birds can sing now",
    "of\u0120these\u0120birds pre ##ci ##sely re@@ ally": "of these birds precisely really",
    "The/DT cat/NN sat/VB on/IN the/DT mat/NN": "The cat sat on the mat",
    "(S (DT The) (NN cat) (VB sat) (IN on) (DT the) (NN mat))": "  The  cat  sat  on  the  mat",
    "1\tThe\tDT\n2\tcat\tNN\n3\tsat\tVB\n4\ton\tIN\n5\tmats\tNN\n": "The cat sat on mats\n",
    "caf\u00c3\u00a9 don\u00e2\u20ac\u2122t": "cafe don\u2019t",
    r"don\xe2\x80\x99t": "don\u2019t",
    "<00:00:01.439><c> now</c><00:00:02.439><c> is</c>": " now is",
    "12:00:01 ann: one\n12:00:02 bob: two\n12:00:03 ann: three": "one\ntwo\nthree",
    "\n00000000  77 68 6f 20  |who |\n00000004  69 73 20 69  |is i|\n": "\nwho is i",
    "| one  |\n| two  |": "one\ntwo",
    r"\x77ho\040is _x0069_t": "who is it",
    "#which #of #these #5 #birds #can #sing": "which of these 5 birds can sing",
    "+one two\n+three four\n+7 five": "one two\nthree four\n7 five",
    'so <path d="M 1.5,2 L 3,4"/> is': "so  M 1.5,2 L 3,4  is",
    '<rect x="1" y="2" width="3"/><w:t a="1 2 3 4"/>': " 1 2 3 ",
    '<row id="7" text="which of these birds" class="a b c d"/>': " \nwhich of these birds",
    '<w x="1" y="2" z="3">who</w> <acronym title="a word of old days">is</acronym>': (
        " who   is \na word of old days"
    ),
    "Input: [ { < >": "Input:  opsquare   opbrace   opangle   clangle ",
    "] )": " clsquare   clround ",
    "Answer: ]}) is": "Answer:  clsquare  clbrace  clround  is",
    "not ( True and False ) or True": "not  opround  True and False  clround  or True",
    "\u0643\u064e\u062a\u064e\u0628\u064e \u0623\u0649": "\u0643\u062a\u0628 \u0627\u064a",
    "\uadc4 19\uac1c": "\uadc4 19 \uac1c",
    "<ruby>\u6f22<rp>(</rp><rt>kan</rt><rp>)</rp></ruby>": " \u6f22 ",
    "%E6%BC%A2%E5%AD%97": "\u6f22\u5b57",
    r"the \fBbig\fR dog \fIis\fP here": "the big dog is here",
}
SAME = [
    *(
        r"\nu \times \theta \neq \text",
        "x=20 and y=3D",
        "5*4=\n20",
        "C++ or a+b+c+d",
        "about ~5 or 3~5",
    ),
    *("3.05 and 0.50 and v1.0.2",),
    *("* 5 + 4", "7: one", "12 apples\n13 pears", "a[1] and b[2]", "x --> y", "if a<k then c>d"),
    *("a < b and c > d & e", "AT&T", "the _ is too big", "50% of 20", r"\frac{1}{2} \times 3"),
    *(
        "\u042d\u0442\u043e \u0434\u043e\u043c \u0438 \u0441\u0430\u0434 \u0439",
        "\u65e5\u672c\u8a9e",
    ),
    *("a<b and c>d", "x<p now and q>r", "p || q, P(A|B)", "[ ] yes ( ) no )"),
    "\U0001f525\U0001f525 now \U0001f525",
    *("[1] f(x[2]) {}", "(not that I know)", "(True or False) so", "}\n}\n}", "50% or 20%Ab"),
    *("", "plain words, with signs: 1 - 2 = -1"),
    *("and/or he/she", "speed*time*mass", "2*3*4*5*6*7*8*9", "x = 1\ny = 2\nz = 3", "O(n) f(x)"),
    *(
        "a b c d e f",
        "U.S.A. and N.A.T.O.",
        "iPhone McDonald NaCl",
        "  3\n+ 5\n+ 7",
        "3:16 and 4:20",
        "cat - chat\ndog - chien\nbird - oiseau\nfish - poisson\ncow - vache",
        "A. RED\nB. BLUE\nC. GREEN\nD. WHITE\nE. BLACK\n",
        "20240101 12 15 18 22 30\n20240102 13 16 19 23 31\n20240103 14 17 20 24 32\n",
        "(I think so) x (I see) y (I do) z (A cat) w (US law) v (EU law) u (A)Mars (B)Venus",
        "C ##foo",
        "see #3 and C# and #a",
        "+5\n+7\n+8 apples",
    ),
]
DRESSES: list[Callable[[str], str]] = [
    lambda text: "".join(html.escape(letter) for letter in text),
    lambda text: re.sub("[aeiou]", lambda found: found[0] + "\u0308", text),
    lambda text: "\u200b".join(text),
    lambda text: text.translate(str.maketrans("aeopc", "\u0430\u0435\u043e\u0440\u0441")),
    lambda text: re.sub(r"\w+", r"<i>\g<0></i>", text),
    lambda text: quote(f"{text} ").strip(),
]


@pytest.mark.parametrize(("dressed", "plain"), PLAIN.items())
def test_a_dress_comes_off(dressed: str, plain: str) -> None:
    assert undress(dressed) == plain


@pytest.mark.parametrize("text", SAME)
def test_what_is_no_dress_stays(text: str) -> None:
    assert undress(text) == text


@given(
    st.lists(st.text("abcdefgopTZ019", min_size=1, max_size=8), min_size=4, max_size=12),
    st.sampled_from(DRESSES),
)
def test_a_dressed_text_reads_as_the_text(found: list[str], dress: Callable[[str], str]) -> None:
    text = "latin " + " ".join(f"{one}fgdb" for one in found)  # mostly Latin in any dress
    assert undress(dress(text)).split() == undress(text).split()


@given(st.text(max_size=60))
def test_any_text_can_be_undressed(text: str) -> None:
    undress(text)


def test_a_word_cut_by_a_line_break_is_joined_only_where_it_is_known() -> None:
    text = "infor-\nmation is well-\nknown"
    assert join_hyphenated(text, {"information"}) == "information is well-\nknown"


@pytest.mark.parametrize(
    ("cut", "whole"),
    [
        ("infor- mation", "information"),
        ("infor\u00ac\nmation", "information"),
        ("infor-\n\n12\n\nmation", "information"),
        ("infor\nmation", "information"),
        ("in\u00b7for\u00b7ma\u00b7tion", "information"),
        ("in-form", "in-form"),
        ("in\nform", "in\nform"),
        ("informationisinform", "informationisinform"),
        ("iinformation iis iinn", "information is in"),
        ("www issue iii", "www issue iii"),
        ("Informationis12information", "Information is 12 information"),
        ("so it is: informationisinform, no", "so it is: information is inform, no"),
        ("see ACGTACGTACGTACGTACGTACGT in it", "see ACGTACGTACGTACGTACGTACGT in it"),
        ("i n f o   t h a t   i s   i n   f o r m   n o w", "info   that   is   in   form   now"),
        ("i.n.f.o t.h.a.t i.s i.n f.o.r.m n.o.w", "info that is in form now"),
        ("i n f o r m i n f o r m a t i o n", "i n f o r m i n f o r m a t i o n"),
        ("U.S.A. and N.A.T.O. or U.S.S.R., U.N.O.", "U.S.A. and N.A.T.O. or U.S.S.R., U.N.O."),
        ("inf0rm 1nf0rm 1nformati0n inf0rmation 1s", "inform inform information information is"),
        ("mp3 and h1n1, b2 or c4t4", "mp3 and h1n1, b2 or c4t4"),
    ],
)
def test_a_cut_word_is_joined_where_its_parts_are_no_words(cut: str, whole: str) -> None:
    assert join_hyphenated(cut, {"information", "inform", "in", "form", "is"}) == whole


@pytest.mark.parametrize(
    "mark",
    [
        *("\\", "=\n", "+", "~", "[", "<!--", "<a ", "# \n", "1: x\n2: y\n", "a b ", "/a/", "a-"),
        *(
            "\u043d",
            "\u4e2d",
            "a\u03bc",
            "*a",
            "\x1b[",
            "a b\n",
            "00:01 a: b\n",
            "(NN a ",
            "\u00c3",
            "\u200b",
            "a\u200b",
            "ff ",
            "#a ",
            "+ab\n",
        ),
    ],
)
def test_marks_without_end_are_read_once(mark: str) -> None:
    """A text of nothing else took minutes."""
    assert len(undress(mark * 50_000)) <= 50_000 * len(mark)


@pytest.mark.parametrize("text", ["ACGT" * 4000, "a" * 20_000 + " - b", "a1" * 10_000])
def test_a_text_without_spaces_is_parted_in_linear_time_and_memory(text: str) -> None:
    assert len(join_hyphenated(text, {"a", "c", "g", "t", "cat", "act"})) <= 2 * len(text)


def test_comments_are_taken_out_from_their_first_mark() -> None:
    assert undress("a<!-- b <!-- c -->d<!---->e-->f<!-- g") == "ade-->f<!-- g"
