"""Captions as words, the way COCO's evaluation code makes them: Stanford's PTBTokenizer without punctuation.

COCO's scores (BLEU, ROUGE-L, CIDEr) are of words that a Java program makes: the Penn Treebank tokenizer of
Stanford CoreNLP 3.4.1, told to write lower case, after which 17 punctuation tokens are dropped. This is a
tokenizer of our own, made by asking that program what it does with which text. On the 40,460 captions of
Flickr8k both give the same words; on the same captions with abbreviations, quotes, prices and times thrown in
they differ in 6 of 10,000. Text unlike captions (markup, phone numbers) may come out otherwise. Its name and
version are in the signature of every metric that uses it; raise the version when any text's words change.

Brackets stay as words ("-lrb-"), because COCO's list of what to drop has them in capitals.
"""

from __future__ import annotations

import re
from functools import lru_cache

SIGNATURE = "ptb-own-1"
"""Which tokenizer this is: name and version."""

ABBREVIATIONS = """
adj adm adv al ala alex apr ariz assn assoc asst attys? aug ave bancorp bhd bldg blvd brig bros calif capt
cf cie cmdr col colo comdr conn corp cos? cpl ct dak dec dept det drs? elec ens esq est etc ext feb fla fri
ft ga gen govs? hon inc ind insp intl invt jan jos jr jul jun kans? ky lieut lt ltd maj mar md messrs mfg
mich minn mlle mme mo mon mont mrs? ms msgr mt mtg natl neb nev nov oct okla penn pfc ph plc p?ptes? p?ptys?
pres profs? pvt rd reps? rev rt sens? sep seq sept sfc sgt spc sq sr ste? supts? sys tel tenn thu thurs
treas tues? univ va vs vt wed wisc? wm wyo
"""
"""Words that keep their period, as patterns."""
ABBREVIATED_NAMES = "Ark Az Del Ill La Mass Miss Ore Pa Tex Wash"
"""Words that keep it only with a capital."""
BEFORE_NUMBERS = "art ca figs? nos? op pp prop"
"""Words that keep it before a number."""
WHOLE = "e'er ma'am nat'l ne'er ol' c'mon 'em 'til 'cause"
"""Words with an apostrophe that isn't where two words meet."""
TWO_WORDS = "cannot gimme gonna gotta lemme wanna"
"""Words that are cut into two."""


def _any_of(words: str) -> str:
    return "(?:" + "|".join(words.replace("'", "['’]").split()) + ")"


_LETTER, _ALNUM, _APOSTROPHE = "[^\\W\\d_¼½¾]", "[^\\W_¼½¾]", "['’]"
_END = rf"(?!{_ALNUM})"
_TOKEN = re.compile(
    rf"""
      (?!(?i:{_any_of(TWO_WORDS)}){_END})[A-Za-z]+(?=\s|$)               # most words: only faster
    | </?[A-Za-z][^<>\s]*> | &(?:amp|lt|gt|quot);                       # <br>
    | (?:https?://|www\.)[^\s<>"()]*[A-Za-z0-9/]
    | [A-Za-z0-9][\w.%+-]{{0,60}}+@{_ALNUM}+(?:[.-]{_ALNUM}+)*         # someone@somewhere.org
    | [@\#][A-Za-z_]\w*
    | [<>]?[:;=][-o*']?(?:[()\\{{@|\[\]]|[DPdpO]{_END})                 # :-)
    | (?i:can(?=not{_END})|gon(?=na{_END})|wan(?=na{_END})|got(?=ta{_END})|gim(?=me{_END})|lem(?=me{_END}))
    | (?i:y{_APOSTROPHE}(?=all{_END})|{_APOSTROPHE}t(?=(?:is|was){_END}))
    | (?i:{_any_of(WHOLE)}){_END} | {_APOSTROPHE}[nN]{_APOSTROPHE} | {_APOSTROPHE}[nN]{_END}
    | {_APOSTROPHE}\d\d[sS]?{_END}                                        # '90s
    | [A-Za-z0-9]+(?:-[A-Za-z]+){{0,2}}(?:/[A-Za-z0-9]+(?:-[A-Za-z]+){{0,2}}){{1,2}}
    | [A-Za-z0-9][A-Za-z0-9.,]{{0,60}}+(?:-(?:[A-Za-z](?:\.[A-Za-z])+\.|[A-Za-z0-9]+))+
    | {_ALNUM}+(?:[-_]{_ALNUM}+)+ | {_LETTER}+[?!]{_LETTER}+
    | [dDoOlL]{_APOSTROPHE}{_ALNUM}+(?:-{_ALNUM}+)*                     # o'clock
    | (?i:[a-z]|ed|ph)(?:\.[A-Za-z])+\.{_END}                           # U.S.
    | {_ALNUM}+?(?=[nN]{_APOSTROPHE}[tT]{_END}) | [nN]{_APOSTROPHE}[tT]{_END}
    | {_APOSTROPHE}(?i:s|m|d|ll|re|ve){_END}
    | {_LETTER}+(?:\.{_LETTER}+)+                                       # the end.The next
    | (?i:{_any_of(ABBREVIATIONS)})\. | (?=[A-Z])(?i:{_any_of(ABBREVIATED_NAMES)})\.
    | (?i:{_any_of(BEFORE_NUMBERS)})\.(?=\s*\d) | [A-Za-z]\. | {_LETTER}+\.(?=[,;:])
    | [A-Z]+(?:&[A-Z]+)+                                                # AT&T
    | \d*{_LETTER}{_ALNUM}*
    | [+-]?(?:\d+(?:[.,:]\d+)*|(?:[.,:]\d+)+)
    | \.{{3,}} | -+ | [!?]+ | \*+ | _+ | @+ | \#+ | ~+
    | \S
    """,
    re.VERBOSE,
)
_WRITTEN = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"} | {
    "€": "$",
    "£": "#",
    "¢": "cents",
    "½": "1/2",
    "¼": "1/4",
    "¾": "3/4",
    "&amp;": "&",
    "&lt;": "<",
    "&gt;": ">",
    "&quot;": '"',
}
_CLITIC = re.compile("^(n?)’(t|s|m|d|ll|re|ve)$")
_DROPPED = re.compile("['’‘`\"“”«»‹›.?!,:;–—…]|-+|\\.{3,}|``|''|[\U00010000-\U0010ffff\ufe0f]")


@lru_cache(maxsize=1 << 12)  # a task's metrics ask for the captions of a sample one after another
def words(text: str) -> tuple[str, ...]:
    """The words of a caption, in lower case and without punctuation; none for an empty one."""
    found = (token if token.isalpha() else _written(token) for token in _TOKEN.findall(text))
    return tuple(token.lower() for token in found if token.isalnum() or not _DROPPED.fullmatch(token))


def _written(token: str) -> str:
    """A token as the program writes it: in lower case, brackets by name, 's with a straight apostrophe."""
    if token in _WRITTEN:
        return _WRITTEN[token]
    if token[0] in ":;=<" and token[-1] in _WRITTEN:  # a smiley
        return token[:-1] + _WRITTEN[token[-1]].lstrip()
    return _CLITIC.sub(r"\1'\2", token.lower())
