"""Promises of refusals: they are told in twelve languages; questions about them are left alone."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.paths import DATA
from tsqa.teachers.replies.answer_reply import parse_answer
from tsqa.text.refusals import asks_nothing, explains_refusal, refuses, says_nothing

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I'm sorry, but I can't assist with that request.",
    "I\u2019m sorry, but I can\u2019t assist with that.",
    "Sorry, I can't provide an answer to this.",
    "I apologize, but I cannot fulfill this request.",
    "Unfortunately, I am unable to answer that without the passage.",
    "I cannot assist with that.",
    "I can't help with that",
    "I won't provide instructions for that.",
    "I must decline.",
    "As an AI language model, I do not have personal preferences.",
    "As an AI, I cannot taste food.",
    "As a large language model trained by a company, I can't browse.",
    "I'm just an AI, so I have no favourite.",
    "It would be inappropriate for me to say.",
    "This request goes against my guidelines.",
    "I don't have enough context to answer.",
    "I do not have enough information.",
    "I don't see any passage in your message.",
    "There is no list provided.",
    "There is no passage provided in the prompt.",
    "No context was provided.",
    "The passage is missing.",
    "You haven't provided the text.",
    "Please provide the passage.",
    "Sure, please provide the text you would like me to use.",
    "Certainly! Please provide more context.",
    "Could you please share the full list?",
    "It seems you forgot to include the passage.",
    "None of the given information",
    "How can I help you today?",
    "Unknown",
    "unknown.",
    "N/A",
    "Not specified",
    "No answer",
    "I don't know.",
    "I do not know the answer to this question",
    "**Unknown**",
    "Cannot be determined",
    "It cannot be determined from the information given.",
    "I'm sorry, but the passage does not say when the bridge was built.",
    "Sorry, the text doesn't mention it.",
    "Unfortunately, based on the passage, the date is not specified in the text.",
    "Based on the passage, it is unclear.",
    "The date is not mentioned in the passage.",
    "Lo siento, pero no se puede determinar.",
    "Not enough information.",
    "It is impossible to say",
    "The passage does not mention it.",
    "Es tut mir leid, aber ich kann dabei nicht helfen.",
    "Leider kann ich diese Anfrage nicht beantworten.",
    "Als KI-Sprachmodell habe ich keine Vorlieben.",
    "Bitte geben Sie den Text an.",
    "Unbekannt",
    "Keine Angabe",
    "Lo siento, pero no puedo ayudar con eso.",
    "Como modelo de lenguaje, no tengo opiniones.",
    "Por favor, proporcione el texto.",
    "Desconocido",
    "Veuillez fournir le texte.",
    "Inconnu",
    "Desconhecido",
    "Mi dispiace, ma non posso aiutarti con questo.",
    "Come modello linguistico, non ho opinioni.",
    "Sconosciuto",
    *yaml.safe_load((DATA / "refusals.yaml").read_text(encoding="utf-8")),
]
ANSWERS = [
    ("What should you say if you can't attend?", "I'm sorry, but I can't come."),
    ("What do you say to decline help?", "I'm sorry, but I can't help you with that."),
    ("How would a chatbot refuse?", "As an AI language model, I cannot do that."),
    ("What is the opposite of known?", "unknown"),
    ("Is it known, unknown or disputed who wrote it?", "Unknown"),
    ("What word means 'not clear'?", "unclear"),
    ("Can the age be determined, and if so, what is it?", "It cannot be determined."),
    ("How many moons does Venus have?", "None"),
    ("How many moons does Venus have?", "No moons"),
    ("What is 0/0?", "undefined"),
    ("What does the equation have?", "No solution"),
    ("Who came?", "nobody"),
    ("What is the symbol of sodium?", "Na"),
    ("Is it so?", "no"),
    ("Who got nothing?", "Those who were not mentioned in the will"),
    ("How does it end?", "Unfortunately, he died."),
    ("What does the passage leave out?", "His age is not given in the passage."),
    ("Who? If the passage does not say, write so.", "He is not named in the passage."),
    ("Is it answerable?", "unanswerable"),
    ("Why did he lose the case?", "According to the passage, he was not given a lawyer"),
    ("What did he regret?", "He was sorry that he could not help his brother."),
    ("Why did she leave?", "She could not provide an answer."),
    ("What does the shop lack?", "There is no list of prices."),
    ("What is an unknown in algebra?", "A letter that stands for a number."),
    ("What is the title?", "The Unknown Soldier"),
    ("What is the name of the field of machines that think?", "artificial intelligence"),
    ("What is a GPT?", "A large language model."),
    ("What did Tom do?", "He said, \"I'm sorry, but I can't help with that.\""),
    ("Why is the sky blue?", "Please excuse"),
    ("Wer kam?", "Es tut mir leid, dass er nicht kam, sagte sie."),
    ("\u8c01\uff1f", "\u672a\u77e5\u6570"),
    ("Which country?", "Information about it is given in the text: Spain."),
]
QUESTIONS = [
    "What should you say if you can't attend?",
    "Why do people say 'I'm sorry'?",
    "\"I'm sorry, but I can't come,\" said Tom. What does Tom mean?",
    "Tom: I'm sorry, but I can't help you with that tonight. What will Tom do?",
    "I'm sorry, but I can't attend the meeting on Monday. How would you reply?",
    "A chatbot answers: \u201cAs an AI language model, I cannot do that.\u201d Why does it do so?",
    "Please provide the chemical symbol for gold.",
    "Please give the list of the prime numbers below ten.",
    "Which is the unknown in x + 3 = 5?",
    "There is no water in the desert. Why?",
    "No information was lost when the file was packed. Which kind of compression is that?",
    "How can I help a friend who is sad?",
    "I cannot see the stars tonight because of the clouds. What are clouds made of?",
    "You haven't eaten since noon, and dinner is at six. How long is that?",
    "The passage of time is measured with what?",
    "Sorry, I can't hear you over the noise. What is noise measured in?",
    "What is a large language model trained on?",
    "Was bedeutet \u201eEs tut mir leid\u201c?",
    "\u201c\u62b1\u6b49\u201d\u662f\u4ec0\u4e48\u610f\u601d\uff1f",
    "Lo siento, pero no puedo ir. \u00bfQu\u00e9 significa?",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_no_answer(text: str) -> None:
    assert refuses(text, "Which town lies on the Danube?")


@pytest.mark.parametrize(("question", "answer"), ANSWERS)
def test_an_answer_is_no_refusal(question: str, answer: str) -> None:
    assert not refuses(answer, question)


@pytest.mark.parametrize("text", [*QUESTIONS, *(question for question, _ in ANSWERS)])
def test_a_question_about_refusing_is_a_question(text: str) -> None:
    assert not asks_nothing(text)


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_no_question(text: str) -> None:
    is_statement = refuses(text) and not explains_refusal(text)
    assert asks_nothing(text) or is_statement


@pytest.mark.parametrize("text", ["Unknown", "N/A", "None", "No question", "Nothing."])
def test_a_word_for_nothing_is_no_question(text: str) -> None:
    assert asks_nothing(text)


@pytest.mark.parametrize(
    ("choices", "is_refused"),
    [
        (["As an AI language model, I cannot say", "Paris"], True),
        (["I'm sorry, but I can't assist with that request", "Paris"], True),
        (["Unknown", "Paris"], False),
        (["It cannot be determined", "3", "4"], False),
        (["None of the above", "Paris"], False),
        (["sorry", "glad"], False),
    ],
)
def test_an_option_refuses_only_in_the_words_of_an_assistant(
    choices: list[str], is_refused: bool
) -> None:
    assert asks_nothing("Which town lies on the Seine?", choices) == is_refused
    assert not asks_nothing("What is a polite way to refuse?", choices)


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        ("I'm sorry, but I can't determine it without the passage. So I guess.", True),
        ("As an AI language model, I am not sure, but Paris is likely.", True),
        ("It cannot be determined from the first premise alone, but the second tells.", False),
        ("Sodium is a metal. There is no list of metals in the text, yet sodium is one.", False),
        ("The unknown is x.", False),
    ],
)
def test_reasoning_refuses_only_in_the_words_of_an_assistant(text: str, is_refused: bool) -> None:
    assert explains_refusal(text, "Which town is it?") == is_refused


@pytest.mark.parametrize(
    ("text", "is_empty"),
    [("N/A", True), ("None needed.", True), ("-", True), ("No context provided", True),
     ("Nothing travels faster than light.", False), ("No metal floats.", False)],
)  # fmt: skip
def test_a_word_for_no_explanation_is_none(text: str, is_empty: bool) -> None:
    assert says_nothing(text) == is_empty


def test_reasons_for_an_option_that_there_is_none_are_reasons() -> None:
    text = '{"reasoning": "I cannot determine it from the text.", "answer": "Not enough data"}'
    choices = ["Paris", "Lyon", "Not enough data"]
    found = parse_answer(text, "stop", "choice", choices)
    assert (found.index, found.reasoning) == (2, "I cannot determine it from the text.")
    assert parse_answer(text, "stop", "choice", ["Paris", "Lyon"]).error == "refusal"


@pytest.mark.parametrize("text", ["[Insert question here]", "<your question here>", "Question"])
def test_a_placeholder_is_no_question(text: str) -> None:
    assert asks_nothing(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.text(max_size=30))
def test_any_text_is_judged(text: str, question: str) -> None:
    assert refuses(text, question) in (True, False)
    assert asks_nothing(text, [question]) in (True, False)


@pytest.mark.parametrize(
    "piece", ["I'm sorry ", "no ", "as an ai ", ". ", '"', "'a", "\u6211", " "]
)
def test_judging_is_linear(piece: str) -> None:
    text = (piece * 200_000)[:200_000]
    begin = time.process_time()
    refuses(text)
    asks_nothing(text)
    assert time.process_time() - begin < 4
