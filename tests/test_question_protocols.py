"""Facts of protocols that the shipped tasks of questions and captions hold (LLaVA-1.5, lmms-eval, BLIP)."""

import pytest

from harness.spec.find import shipped_tasks
from harness.spec.load import load
from harness.spec.schema import Task, metric_keys

SHORT = "Answer the question using a single word or phrase."
UNANSWERABLE = "When the provided information is insufficient, respond with 'Unanswerable'."
LETTER = "Answer with the option's letter from the given choices directly."
CAPTION = "Provide a one-sentence caption for the provided image."
LINES = {
    **dict.fromkeys(("vqav2", "gqa", "docvqa", "pope"), ("{question}", SHORT)),
    **dict.fromkeys(("okvqa", "vizwiz", "llava_two_stages"), ("{question}", UNANSWERABLE, SHORT)),
    "textvqa": ("{question}", "Reference OCR token: {ocr}", SHORT),
    "chartqa": ("{question}", "Answer the question with a single word."),
    "scienceqa": ("Context: {hint}", "{question}", "{options}", LETTER),
    "mmmu": ("{question}", "{options}", "", LETTER),
    "visual7w": ("{question}",),
    **dict.fromkeys(("coco_captions", "flickr30k_captions", "nocaps"), (CAPTION,)),
    "coco_captions_blip": ("a picture of ",),
}
RULES = {
    "vqav2": "always",
    **dict.fromkeys(("okvqa", "textvqa", "vizwiz", "llava_two_stages"), "m4c"),
}
TOKENS = {"vqav2": 128, "pope": 128, "mmmu": 128, "gqa": 16, "scienceqa": 16, "chartqa": 16, "docvqa": 32}
FIRST_METRIC = {
    "gqa": "exact_match",
    "docvqa": "anls",
    "chartqa": "relaxed_accuracy",
    "pope": "pope_accuracy",
    "nocaps": "cider",
    "mmmu": "accuracy",
}


def cells(name: str) -> list[Task]:
    return [cell.task for cell in load(dict(shipped_tasks())[name])]


@pytest.mark.parametrize("name", LINES)
def test_a_task_asks_in_its_protocols_words(name: str):
    assert tuple(cells(name)[0].words.split("\n")) == LINES[name]


@pytest.mark.parametrize("name", RULES)
def test_answers_of_ten_people_are_compared_by_the_benchmarks_rules(name: str):
    [metric] = cells(name)[0].metrics
    assert (metric.name, metric.options["rules"]) == ("vqa_accuracy", RULES[name])


@pytest.mark.parametrize("name", TOKENS)
def test_an_answer_may_be_as_long_as_in_the_protocol(name: str):
    generate = cells(name)[0].generate
    assert (generate.max_new_tokens, generate.num_beams, generate.temperature) == (TOKENS[name], 1, 0.0)


@pytest.mark.parametrize("name", FIRST_METRIC)
def test_a_task_is_decided_by_its_protocols_metric(name: str):
    assert next(metric_keys(cells(name)[0].metrics))[0] == FIRST_METRIC[name]


def test_exact_match_of_gqa_ignores_case_and_punctuation():
    [metric] = cells("gqa")[0].metrics
    assert metric.options == {"ignore_case": True, "ignore_punctuation": True}


def test_pope_has_three_sets_and_five_scores():
    tasks = cells("pope")
    assert [task.data.splits.test for task in tasks] == ["random", "popular", "adversarial"]
    scores = ["accuracy", "precision", "recall", "f1", "yes_rate"]
    assert [name for name, _ in metric_keys(tasks[0].metrics)] == [f"pope_{score}" for score in scores]


@pytest.mark.parametrize("asked", ["matching", "ranking", "explanation"])
def test_the_caption_contest_has_five_folds(asked: str):
    names = [task.data.name for task in cells(f"newyorker_{asked}")]
    assert names == [f"{asked}_from_pixels{fold}" for fold in ("", "_1", "_2", "_3", "_4")]


def test_how_options_are_chosen():
    chosen = {
        name: cells(name)[0].chooses for name in ("scienceqa", "mmmu", "visual7w", "newyorker_matching")
    }
    assert {name: (choice.by, choice.answer) for name, choice in chosen.items()} == {
        "scienceqa": ("letter", "letter"),
        "mmmu": ("letter", "letter"),
        "visual7w": ("likelihood", "text"),
        "newyorker_matching": ("likelihood", "letter"),
    }


def test_blips_captions_are_searched_for_and_of_its_length():
    """20 tokens with the start token and the three of the prompt; five with them at least."""
    [task] = cells("coco_captions_blip")
    generate = task.generate
    assert (generate.num_beams, generate.min_new_tokens, generate.max_new_tokens) == (3, 1, 16)


def test_llavas_stages_train_the_projector_and_then_the_language_model_too():
    [task] = cells("llava_two_stages")
    assert task.train is not None
    stages = task.train.staged
    assert {name: own.parts for name, own in stages.items()} == {
        "projector": {"projector": "full"},
        "instructions": {"projector": "full", "language": "lora"},
    }
    assert [(own.batch, own.learning_rate) for own in stages.values()] == [(256, 1e-3), (128, 1e-4)]
