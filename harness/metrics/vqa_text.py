"""How answers to visual questions are normalised before they are compared.

Two sets of rules are in use, and a score under one is no score under the other. `vqa` is the evaluation code
of the VQA challenge (Antol et al. 2015; github.com/GT-Vision-Lab/VQA): punctuation, number words, articles,
contractions. `m4c` is EvalAI's, which TextVQA, VizWiz and OK-VQA are scored with (first in M4C, Hu et al.
2020): lower case first, no commas and question marks, and "'s" as a word of its own.
"""

from __future__ import annotations

import re
from functools import lru_cache

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
PERIODS = 32
"""Periods that are dropped at most: the challenge's code passes the flag re.UNICODE as the count."""
ARTICLES = frozenset({"a", "an", "the"})
NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"} | {
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}
CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't
needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've
somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll
that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've
weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've
why'll why're why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're
you've
"""
"""Words that get an apostrophe back where exactly one is missing."""

_REPAIRED = {
    word[:at] + word[at + 1 :]: word
    for word in CONTRACTIONS.split()
    for at, character in enumerate(word)
    if character == "'"
} | {"somebody'd": "somebodyd"}  # the wrong way round in the challenge's code, and so in its scores
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")


@lru_cache(maxsize=1 << 16)  # ten people mostly give a few answers, and questions share them
def vqa(text: str) -> str:
    """`text` by the VQA challenge's rules: "T-shirt" is "t shirt", "1,000" "1000", "none" "0", "a" ""."""
    return _words(_without_punctuation(one_line(text)))


@lru_cache(maxsize=1 << 16)
def m4c(text: str) -> str:
    """`text` by EvalAI's rules, as TextVQA, VizWiz and OK-VQA have it: "it's" is "it 's"."""
    lowered = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return _words(_without_punctuation(one_line(lowered)))


def one_line(text: str) -> str:
    """`text` with spaces for tabs and line ends, and none at its own."""
    return text.strip().replace("\n", " ").replace("\t", " ").strip()


def _without_punctuation(text: str) -> str:
    """Marks become spaces; those beside a space are dropped, and so are all where a number has a comma."""
    in_number = _COMMA_IN_NUMBER.search(text) is not None
    cleaned = text
    for mark in PUNCTUATION:
        if mark in cleaned:
            dropped = in_number or f"{mark} " in text or f" {mark}" in text
            cleaned = cleaned.replace(mark, "" if dropped else " ")
    return _PERIOD.sub("", cleaned, count=PERIODS)


def _words(text: str) -> str:
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_REPAIRED.get(word, word) for word in words if word not in ARTICLES)
