"""Rows with the columns that the data sets of questions and captions have on the Hub.

Columns are those of the data sets' cards; images are structs of bytes and a path, as `datasets` stores them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from tests.data.pictures import picture, saved

Row: TypeAlias = dict[str, Any]


def photo(number: int) -> Row:
    """An image as `datasets` stores it."""
    return {"bytes": saved(picture(number), "JPEG"), "path": None}


def _ten(number: int) -> list[str]:
    """What ten people said."""
    return ["cat"] * 6 + ["a cat"] * 2 + [f"dog {number}", "unanswerable"]


def vqav2(number: int) -> Row:
    people = [
        {"answer": answer, "answer_confidence": "yes", "answer_id": place}
        for place, answer in enumerate(_ten(number), start=1)
    ]
    return {
        "question_type": "what is",
        "multiple_choice_answer": "cat",
        "answers": people,
        "image_id": 100 + number // 2,
        "answer_type": "other",
        "question_id": 1000 + number,
        "question": f"What is in photo {number}?",
        "image": photo(number // 2),
    }


def okvqa(number: int) -> Row:
    return {
        "question_id": f"{2000 + number}",
        "image": photo(number),
        "question": "Which country is this animal from?",
        "answers": _ten(number),
        "question_type": "six",
        "answer_type": "other",
    }


def textvqa(number: int) -> Row:
    """The second row has no OCR tokens, as some photographs have no writing."""
    return {
        "image_id": f"img{number // 2}",
        "question_id": 34602 + number,
        "question": "what is the brand of this camera?",
        "question_tokens": ["what", "is", "the", "brand", "of", "this", "camera"],
        "image": photo(number // 2),
        "image_width": 48,
        "image_height": 32,
        "flickr_original_url": "https://example.invalid/o.jpg",
        "flickr_300k_url": "https://example.invalid/z.jpg",
        "answers": _ten(number),
        "image_classes": ["Camera"],
        "set_name": "val",
        "ocr_tokens": [] if number == 1 else ["DAKOTA", "DIGITAL", "Single-Use", "Camera"],
    }


def vizwiz(number: int) -> Row:
    return {
        "question_id": f"VizWiz_val_{number:08d}.jpg",
        "image": photo(number),
        "question": "Can you tell me what this medicine is please?",
        "answers": _ten(number),
        "category": "unanswerable" if number % 2 else "other",
    }


def gqa_questions(number: int) -> Row:
    return {
        "id": f"20{number:06d}",
        "imageId": f"n{number // 2}",
        "question": "Is it overcast?",
        "answer": "no",
        "fullAnswer": "No, it is not overcast.",
        "isBalanced": True,
        "groups": {"global": None, "local": "13-weather_overcast"},
        "entailed": "[]",
        "equivalent": f"['20{number:06d}']",
        "types": {"structural": "verify", "semantic": "global", "detailed": "weatherVerify"},
        "annotations": {"answer": [], "question": [], "fullAnswer": []},
        "semantic": [{"operation": "select", "dependencies": [], "argument": "scene"}],
        "semanticStr": "select: scene -> verify weather: overcast",
    }


def gqa_images(number: int) -> Row:
    return {"id": f"n{number}", "image": photo(number)}


def scienceqa(number: int) -> Row:
    """The second row has no hint."""
    return {
        "image": photo(number),
        "question": "Which of these states is farthest north?",
        "choices": ["West Virginia", "Louisiana", "Arizona", "Oklahoma"][: 2 + number % 3],
        "answer": number % 2,
        "hint": "" if number == 1 else "The map shows the United States.",
        "task": "closed choice",
        "grade": "grade2",
        "subject": "social science",
        "topic": "geography",
        "category": "Geography",
        "skill": "Read a map: cardinal directions",
        "lecture": "Maps have four cardinal directions.",
        "solution": "",
    }


def pope(category: str) -> Callable[[int], Row]:
    def row(number: int) -> Row:
        return {
            "id": f"{number}",
            "question_id": f"{number + 1}",
            "question": f"Is there a {'snowboard' if number % 2 else 'dining table'} in the image?",
            "answer": "no" if number % 2 else "yes",
            "image_source": f"COCO_val2014_{number // 2:012d}",
            "image": photo(number // 2),
            "category": category,
        }

    return row


def mmmu(number: int) -> Row:
    """Questions of one image, of two, one that shows an image among its options, and an open one."""
    questions = ("<image 1> What is this?", "Compare <image 1> with <image 2>.", "Find it.", "<image 1> Sum?")
    options = ("['a fugue', 'a gigue']", "['less', 'same', 'more']", "['<image 1>', '<image 2>']", "[]")
    images: Row = {f"image_{place}": None for place in range(1, 8)}
    for place in range(1, 1 + (1, 2, 2, 1)[number % 4]):
        images[f"image_{place}"] = photo(10 * number + place)
    return {
        "id": f"validation_Music_{number + 1}",
        "question": questions[number % 4],
        "options": options[number % 4],
        "explanation": "",
        **images,
        "img_type": "['Sheet Music']",
        "answer": "12" if number % 4 == 3 else "AB"[number % 2],
        "topic_difficulty": "Medium",
        "question_type": "open" if number % 4 == 3 else "multiple-choice",
        "subfield": "Music",
    }


def nocaps(number: int) -> Row:
    return {
        "image": photo(number),
        "image_coco_url": "https://example.invalid/0013ea2087020901.jpg",
        "image_date_captured": "2018-11-06 11:04:33",
        "image_file_name": f"{number}.jpg",
        "image_height": 32,
        "image_width": 48,
        "image_id": number,
        "image_license": 0,
        "image_open_images_id": f"{number:016x}",
        "annotations_ids": list(range(10 * number, 10 * number + 10)),
        "annotations_captions": [f"A baby is standing in front of house {place}." for place in range(10)],
    }


def _cartoon(number: int, fold: str, split: str) -> Row:
    return {
        "image": photo(number // 2),
        "contest_number": 500 + number // 2,
        "n_tokens_label": 1,
        "instance_id": f"{split}{fold}-{number:032x}",
    }


def newyorker(task: str, fold: str, split: str) -> Callable[[int], Row]:
    """Rows of matching (five captions), ranking (two) or explanation (one), from pixels."""
    captions = ["On a clear day, I can get Santa Fe.", "Nope, try again.", "I'll show you.", "What?", "Moo."]

    def row(number: int) -> Row:
        own = _cartoon(number, fold, split)
        if task == "explanation":
            return own | {
                "caption_choices": captions[number % 5],
                "label": "The antenna is a cactus.",
            }
        if task == "ranking":
            winner = {"winner_source": "official_winner"}
            return own | winner | {"caption_choices": captions[:2], "label": "AB"[number % 2]}
        return own | {"caption_choices": captions, "label": "ABCDE"[number % 5]}

    return row


def docvqa(number: int) -> Row:
    return {
        "questionId": f"{49153 + number}",
        "question": "What is the 'actual' value per 1000, during the year 1975?",
        "question_types": ["figure/diagram"],
        "image": photo(number // 2),
        "docId": 14465 + number // 2,
        "ucsf_document_id": "pybv0228",
        "ucsf_document_page_no": "81",
        "answers": ["0.28", ".28"],
        "data_split": "val",
    }


def chartqa(number: int) -> Row:
    return {
        "type": "human_test" if number % 2 else "augmented_test",
        "question": "How many food items are shown in the bar graph?",
        "answer": "14",
        "image": photo(number),
    }


def chartqa_m4(number: int) -> Row:
    return {
        "image": photo(number),
        "query": "Is the value of Favorable 38 in 2015?",
        "label": ["Yes"],
        "human_or_machine": number % 2,
    }


def recap(number: int) -> Row:
    """LLaVA's own format: <image> where the image goes."""
    return {
        "id": f"{number:09d}",
        "image": photo(number),
        "conversations": [
            {"from": "human", "value": "<image>\nPlease describe the image in detail."},
            {"from": "gpt", "value": f"The image shows a wave of colour, number {number}."},
        ],
        "data_source": "lcs558k",
    }


def instruct_mix(number: int) -> Row:
    """Messages with parts and two turns; images stand beside them."""
    first = [
        {"index": None, "text": "What is shown?\n", "type": "text"},
        {"index": 0, "text": None, "type": "image"},
    ]

    def said(role: str, text: str) -> Row:
        return {"content": [{"index": None, "text": text, "type": "text"}], "role": role}

    turns = [said("assistant", "A wave."), said("user", "Which colour?"), said("assistant", f"Red {number}.")]
    return {"messages": [{"content": first, "role": "user"}, *turns], "images": [photo(number)]}
