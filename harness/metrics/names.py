"""What tables call a metric."""

from __future__ import annotations

SPELLED = {
    "wer": "WER",
    "cer": "CER",
    "bleu": "BLEU",
    "chrf": "chrF",
    "chrf++": "chrF++",
    "ece": "ECE",
    "map": "mAP",
    "mrr": "MRR",
    "f1": "F1",
    "vqa": "VQA",
    "anls": "ANLS",
    "pope": "POPE",
    "rouge": "ROUGE",
    "l": "L",
    "cider": "CIDEr",
}
"""Abbreviations as the field writes them."""


def in_words(key: str) -> str:
    """A metric's key in words that a table can break lines between: WER, balanced accuracy, text MRR."""
    stem, at, k = key.partition("@")
    return " ".join(SPELLED.get(word, word) for word in stem.split("_")) + at + k
