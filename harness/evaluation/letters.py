"""Choice by letter: which option a generated answer names, if it names exactly one.

Accepted, where L is an option's letter (asterisks anywhere, and quotes around it all, are ignored):

    alone        L   (L)   [L]   L.   L)   L:   and the same with a small letter
    first        (L) cat   L) cat   L. cat   L: cat   L, cat   L - cat   L and a new line   (l) cat   l) cat
    announced    Answer: L   The answer is L   The correct option is (L)   ..., so the best choice is: L
                 Option L   L is correct   L is the right answer

An L without brackets is followed there by nothing, by one of the delimiters that "first" has, or by
"because", "since" or "as". Nothing else is accepted, and nothing that names another letter besides: "A or B",
"B) cat, not C", "The answer is B. A is wrong". The words of the option itself may ("C. vitamin D"). No letter
beyond the options is accepted. A capital A before a word is an article ("A cat", "Answer: A cat"), and I
before one is a pronoun.

Other parsers are permissive. MMMU's takes any letter in brackets or between spaces, then options whose words
occur in the answer, of several the last; where it finds none it draws an option at random, so its accuracy
has chance in it. Here an answer that doesn't name exactly one option is wrong, and metric `unparsed` counts
it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from harness.evaluation.heads import Head, Means, Outcome
from harness.spec.prompting import LETTERS
from harness.types import Prediction, Sample

_BRACKETS = r"[(\[]\s*([A-Za-z])\s*[)\]]"
_CAPITAL = r"([A-Z])(?=\s*$|\s*\n|\s*[).:,;]|\s+[-\u2013\u2014]\s|\s+(?:because|since|as)\b)"
"""A capital with what may follow it."""
_NOUN = r"(?i:answer|option|choice)"
_GOOD = r"(?i:correct|right|best|final|most\s+likely)"

ALONE = re.compile(r"[(\[]?\s*([A-Za-z])\s*[.:)\]]*")
CLAIMS = (
    re.compile(rf"^(?:{_NOUN}\s+)?(?:{_BRACKETS}|([a-z])\)|{_CAPITAL})"),
    re.compile(rf"\b{_NOUN}\s*(?:\s(?i:is)\s*:?|:)\s*(?:{_NOUN}\s+)?(?:{_BRACKETS}|{_CAPITAL})"),
    re.compile(
        rf"^(?:{_NOUN}\s+)?(?:{_BRACKETS}|([A-Z]))\s+is\s+(?:the\s+)?"
        rf"(?:{_GOOD}(?:\s+(?:{_NOUN}|one))?|{_NOUN})\s*(?:$|[.,;!\n])"
    ),
)
"""Forms in which a letter is the answer."""
NAMED = re.compile(rf"{_BRACKETS}|(?<![\w'’])(?:([a-z])\)|([A-Z])(?![\w'’]))")
"""A letter that is named in any way, if it isn't an article."""
ARTICLE = re.compile(r"\b[AI](?=\s+(?!(?:is|and|or|nor|because|since|as)\b)[a-z])")
"""An article or a pronoun: a word comes after it."""


class Letters(Head):
    """The letter that a text names with certainty ({"B": 1.0}), or {} where none could be parsed.

    The text is kept under "said" in the extras.
    """

    def __init__(self, means: Means) -> None: ...

    def answers(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """The outcomes with letters in place of texts."""
        for sample, id_, prediction in outcomes:
            if sample is None or not isinstance(prediction.output, str):
                yield sample, id_, prediction
                continue
            yield sample, id_, lettered(sample, prediction)


def lettered(sample: Sample, prediction: Prediction) -> Prediction:
    """The prediction with a letter in place of its text."""
    said = str(prediction.output)
    letter = parsed(said, options_of(sample))
    extras = {**prediction.extras, "said": said}
    return replace(prediction, output={letter: 1.0} if letter else {}, extras=extras)


def options_of(sample: Sample) -> list[str]:
    """The options that a sample lists, none where it is a conversation."""
    options = sample.inputs.get("options")
    return [str(one) for one in options] if isinstance(options, tuple) else []


def parsed(said: str, options: Sequence[str] = ()) -> str | None:
    """The letter of the option that a text names; any letter may be one where no option is known."""
    text = said.replace("*", "").strip().strip("\"'`“”‘’").strip()
    if alone := ALONE.fullmatch(text):
        claimed = {alone[1].upper()}
    else:
        claimed = {letter for form in CLAIMS for letter in _letters(form, text)}
    if len(claimed) != 1:
        return None
    [letter] = claimed
    allowed = LETTERS[: len(options)] if options else LETTERS
    if letter not in allowed or _others(text, letter, options):
        return None
    return letter


def _others(text: str, letter: str, options: Sequence[str]) -> set[str]:
    """Letters that a text names besides this one and outside its option's words."""
    own = options[LETTERS.index(letter)] if options else ""
    rest = ARTICLE.sub(" ", text)
    rest = rest.replace(own, " ") if own else rest
    return set(_letters(NAMED, rest)) - {letter}


def _letters(form: re.Pattern[str], text: str) -> Iterator[str]:
    for found in form.finditer(text):
        yield next(group for group in found.groups() if group).upper()
