"""The strict parser of generated letters."""

from __future__ import annotations

from typing import Any, cast

import pytest

from harness.evaluation.letters import Letters, parsed
from harness.types import Failure, Prediction, Sample

OPTIONS = ("cat", "dog", "cow", "vitamin A")


@pytest.mark.parametrize(
    "said",
    [
        *("B", "b", " B\n", "(B)", "[B]", "(b)", "B.", "B)", "b.", "(B).", "B:", "**B**", '"B"'),
        *(
            "B) dog",
            "B. dog",
            "B: dog",
            "B, dog",
            "(B) dog",
            "[B] dog",
            "B - dog",
            "B\ndog",
            "b) dog",
            "(b) dog",
        ),
        *("B) A dog", "B. I think so", "**B**: dog"),
        *("Answer: B", "answer: (B)", "Answer:\nB", "Answer B", "Option B", "option (B)", "Choice B."),
        *("The answer is B", "The answer is B.", "the correct answer is (B).", "The best option is B) dog"),
        *("The answer is: B", "The answer is **B**", "The answer is option B", "Final answer: B"),
        *("The answer is B because it barks", "It barks, so the correct choice is B."),
        *("I think the answer is B", "A dog is shown. The answer is B."),
        *("B is correct", "B is the right answer.", "(B) is the best option", "Option B is correct"),
    ],
)
def test_one_letter_that_is_named_as_the_answer_is_found(said):
    assert parsed(said, OPTIONS) == "B"


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        ("A", "A"),
        ("A.", "A"),
        ("A) cat", "A"),
        ("(A) A cat", "A"),
        ("The answer is A.", "A"),
        ("D. vitamin A", "D"),
    ],
)
def test_an_a_that_is_no_article_is_a_letter(said, letter):
    assert parsed(said, OPTIONS) == letter


@pytest.mark.parametrize(
    "said",
    [
        *("", "   ", "dog", "yes", "1", "...", "I don't know"),
        *("A cat", "A cat and a dog", "Answer: A cat", "The answer is A cat", "a cat", "the answer is a"),
        *("B dog", "Answer: B dog", "BB", "AB", "A B", "A/B", "A-B"),
        *("A or B", "B and C", "A, B", "(A) (B)", "Both B and C", "Either B. or C.", "A B C D"),
        *(
            "B) dog, not C",
            "B. dog\nC. cow",
            "The answer is B. A is wrong",
            "Answer: B\nAnswer: C",
            "B, not A",
        ),
        *("E", "(E)", "e", "Answer: E", "E. coli", "I", "(B) or (E)"),
        *("not B", "The answer is not B", "The answer isn't B", "B is wrong", "B is the right side"),
        *("Is it B?", "between B and something", "C. vitamin D"),
    ],
)
def test_anything_else_is_refused(said):
    assert parsed(said, OPTIONS) is None


def test_letters_reach_as_far_as_the_options():
    assert parsed("C", OPTIONS[:2]) is None
    assert parsed("J", ["option"] * 10) == "J"
    assert parsed("The answer is Z") == "Z", "a conversation lists no options"


def outcomes(*said: Any) -> list[Any]:
    predictions = [Prediction(str(n), one, tokens=2, extras={"was": 1}) for n, one in enumerate(said)]
    samples = [Sample(one.sample_id, {"options": OPTIONS}, "B", "g") for one in predictions]
    return [(sample, one.sample_id, one) for sample, one in zip(samples, predictions, strict=True)]


def test_texts_become_letters_and_stay_to_be_read():
    failed = (None, "lost", Prediction("lost", None, error=Failure("RowError", "no image")))
    head = Letters(cast(Any, None))
    [one, two, lost] = head.answers([*outcomes("(B) dog", "A cat"), failed])
    assert (one[2].output, one[2].extras) == ({"B": 1.0}, {"was": 1, "said": "(B) dog"})
    assert (two[2].output, two[2].extras) == ({}, {"was": 1, "said": "A cat"})
    assert lost == failed
