"""VQA accuracy: how answers are normalised, and what can't be scored."""

import pytest

from harness.errors import RowError, UsageError
from harness.metrics import build
from harness.metrics.vqa_accuracy import VqaAccuracy
from harness.metrics.vqa_text import m4c, vqa

# Read off the evaluation code of GT-Vision-Lab/VQA (commit of its master) and of facebookresearch/mmf.
BOTH = [
    ("T-shirt", "t shirt"),
    ("1,000", "1000"),
    ("U.S.A.", "usa"),
    ("none", "0"),
    ("a", ""),
    ("An Ten-pin", "10 pin"),  # words are looked up after the hyphen has become a space
    ("ten", "10"),
    ("3.5", "3.5"),
    ("3. 5", "3 5"),
    ("couldnt've", "couldn't've"),
    ("couldn'tve", "couldn't've"),
    ("couldntve", "couldntve"),  # only one apostrophe at a time
    ("yall'd've", "y'all'd've"),
    ("'ows'at", "'ow's'at"),
    ("somebody'd", "somebodyd"),
    ("twas", "'twas"),
    ("Im", "im"),  # its contraction has a capital, which no word has by then
    ("left - right", "left right"),
    ("left-right - up", "leftright up"),  # one hyphen beside a space takes them all
    ("yes\tand\nno", "yes and no"),
    ("!yes", "yes"),
]


@pytest.mark.parametrize(("text", "expected"), BOTH)
def test_what_the_rules_share(text, expected):
    assert vqa(text) == expected
    assert m4c(text) == expected


@pytest.mark.parametrize(
    ("text", "challenge", "evalai"),
    [
        ("it's", "it's", "it 's"),
        ("red,blue", "red blue", "redblue"),
        ("why?not", "why not", "whynot"),
        (
            "1,000 t-shirts",
            "1000 tshirts",
            "1000 t shirts",
        ),  # a comma in a number: all marks go
    ],
)
def test_where_the_rules_differ(text, challenge, evalai):
    assert vqa(text) == challenge
    assert m4c(text) == evalai


def test_no_more_than_32_periods_are_dropped():
    assert vqa("." * 32 + "x") == "x"
    assert vqa("." * 34 + "x") == "..x"


@pytest.mark.parametrize("answers", [["yes"] * 9, ["yes"] * 11, ["yes"], "yes"])
def test_another_number_of_answers_is_a_failure_of_the_sample(answers):
    count = 1 if isinstance(answers, str) else len(answers)
    instead = "exact_match" if count == 1 else "answers: null"
    with pytest.raises(
        RowError, match=rf"expects 10 answers a question, and this one has {count}; .*{instead}"
    ):
        VqaAccuracy().stats("yes", answers)


def test_any_number_is_two_at_least():
    with pytest.raises(RowError, match="needs 2 answers a question at least, and this one has 1"):
        VqaAccuracy(answers=None).stats("yes", "yes")
    assert VqaAccuracy(answers=5).stats("yes", ["yes"] * 5) == (1, 1)
    with pytest.raises(UsageError, match="answers"):
        build("vqa_accuracy", {"answers": 1})


def test_signatures_tell_the_rules_apart():
    names = ["official", "always", "m4c"]
    signatures = [build("vqa_accuracy", {"rules": name}).signature for name in names]
    assert signatures == [f"rules:{name}|answers:10" for name in names]
    assert build("vqa_accuracy", {"answers": None}).signature == "rules:official|answers:var"
