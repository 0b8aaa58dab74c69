"""The words of captions, as Stanford's PTBTokenizer (CoreNLP 3.4.1, -preserveLines -lowerCase) writes them.

Every expectation was read off that program, without the 17 tokens that COCO's code drops.
"""

import pytest

from harness.metrics.ptb_tokenizer import words

JAVA = {
    "A man riding a wave on top of a surfboard.": "a man riding a wave on top of a surfboard",
    "The dog's bone, dogs' bones and Mary-Kate's.": "the dog 's bone dogs bones and mary-kate 's",
    "I can't, won't and shouldn't've; y'all'd": "i ca n't wo n't and should n't 've y' all 'd",
    "He’s here, it isn’t": "he 's here it is n't",
    "He cannot, he's gonna. 'Tis": "he can not he 's gon na 't is",
    "rock'n'roll at 4 o'clock, ma'am": "rock 'n' roll at 4 o'clock ma'am",
    "in the '90s, the 1980's and 1990s": "in the '90s the 1980 's and 1990s",
    "Mr. Smith of St. Louis in the U.S. at 3 p.m.": "mr. smith of st. louis in the u.s. at 3 p.m.",
    "a T.V. and a TV. etc.": "a t.v. and a tv etc.",
    "dog., b": "dog. b",
    "he ate pa. but not in Pa. or PA.": "he ate pa but not in pa. or pa.",
    "No. 5, no.7 or no. He": "no. 5 no. 7 or no he",
    "the letter B. and a word b.": "the letter b. and a word b.",
    "the end.The next": "the end.the next",
    "\"STOP\" says the 'red' “sign” … wait... --": "stop says the red sign wait",
    "(left) [right] {up}": "-lrb- left -rrb- -lsb- right -rsb- -lcb- up -rcb-",
    "T-shirt, two-year-old, black-and-white - x": "t-shirt two-year-old black-and-white x",
    "and/or a/b/c/d w/ 1/2 24/7": "and/or a/b/c / d w / 1/2 24/7",
    "$3.50, 1,000 £5 €6 50% -5 .5 3:30pm 5c": "$ 3.50 1,000 # 5 $ 6 50 % -5 .5 3:30 pm 5c",
    "5'6\" 5. #1 #tag @home": "5 6 5 # 1 #tag @home",
    "black & white AT&T a&b &amp;": "black & white at&t a & b &",
    "wow! really? no!! what?!": "wow really no !! what ?!",
    "www.google.com a@b.com": "www.google.com a@b.com",
    "a smile :) ;-( <3": "a smile :-rrb- ;--lrb- < 3",
    "a dog😀 café ½ 犬 5° ™": "a dog café 1/2 犬 5 ° ™",
    "U.S.-made 7-Eleven anti-U.S. Ph.D.": "u.s.-made 7-eleven anti-u.s. ph.d.",
    "a_b _c_ *d*": "a_b _ c _ * d *",
    "*** == || ~ ^": "*** = = | | ~ ^",
    "a line\nand\tanother": "a line and another",
    " . ": "",
    "": "",
}


@pytest.mark.parametrize("text", list(JAVA))
def test_the_same_words_as_the_java_program(text):
    assert " ".join(words(text)) == JAVA[text]


def test_degenerate_text_takes_no_time():
    """What a model may say at the worst: no spaces, one mark for ever."""
    for text in (
        "a" * 20_000,
        "a," * 5_000,
        "a-" * 10_000,
        "1." * 10_000,
        "'" * 20_000,
        "n't" * 5_000,
        "<a" * 10_000,
    ):
        words(text)
