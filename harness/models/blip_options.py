"""BLIP's answers to questions with options: the one that its decoder finds most likely, as in its paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from harness.models.base import IGNORED_LABEL, Batch
from harness.models.blip import BlipAnswers
from harness.models.image_to_text import on_device, refuse_non_finite
from harness.models.weights import quiet
from harness.spec.prompting import LETTERS
from harness.types import Json, Output, Sample


class BlipOptions(BlipAnswers):
    """Scores every option by its log-likelihood as the answer, end token included."""

    def request(self, sample: Sample) -> Json:
        """The words and the options. Raises RowError for a sample that can't be asked."""
        self._lessons(sample)
        return {"asked": super().request(sample), "options": [*self._asking.answers(sample)]}

    def encode(self, samples: Sequence[Sample], *, with_targets: bool = False) -> Batch:
        """As of a question without options; what is learned is the right one."""
        batch = super().encode(samples, with_targets=with_targets)
        options = [self._lessons(sample) for sample in samples]
        return replace(batch, settings={**batch.settings, "options": options})

    def predict(self, batch: Batch) -> list[Output]:
        """Letter to `logprob` and `tokens`, how many the option has with its end.

        Image and question go through the network once. Raises PredictionError when it computes NaN or
        infinity.
        """
        import torch

        network = self.model  # loaded first: inference would mark its weights
        with torch.inference_mode(), quiet():
            states, lengths = self._seen(on_device(network, batch))
            rows = zip(states, lengths, batch.settings["options"], strict=True)
            return [Output(dict(self._scores(seen[:length], lessons))) for seen, length, lessons in rows]

    def _scores(self, states: Any, lessons: Sequence[Any]) -> Iterator[tuple[str, Json]]:
        """Letters and scores of one question's options; `states` are the question's, (tokens, width)."""
        from torch.nn.functional import cross_entropy

        tensors = {name: rows.to(states.device) for name, rows in self.writer.tensors(lessons).items()}
        logits = self.speaker(
            input_ids=tensors["decoder_input_ids"],
            attention_mask=tensors["decoder_attention_mask"],
            encoder_hidden_states=states.expand(len(lessons), -1, -1),
            use_cache=False,
        ).logits.float()
        refuse_non_finite(logits)
        labels = tensors["labels"]
        lost = cross_entropy(
            logits.transpose(1, 2), labels, ignore_index=IGNORED_LABEL, reduction="none"
        ).sum(1)
        counts = (labels != IGNORED_LABEL).sum(1)
        for letter, loss, count in zip(LETTERS, lost.tolist(), counts.tolist(), strict=False):
            yield letter, {"logprob": -loss, "tokens": count}

    def _lessons(self, sample: Sample) -> list[tuple[list[int], list[int]]]:
        """The decoder's ids of each option, and what is to follow them. Raises RowError."""
        begun = self._begun(sample)
        return [
            self.writer.lesson(begun, self._ids(text), sample.id) for text in self._asking.answers(sample)
        ]
