"""What a person reads before a fine-tuning: what would be trained, on what, for how long."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import starmap
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.report import cell_text, counted
from harness.results.record import TrainedOnPart
from harness.tuning.plan import TrainingPlan
from harness.tuning_report import share


def plan_report(plan: TrainingPlan) -> RenderableType:
    """What a training would do."""
    cell = f" ({cell_text(plan.cell)})" if plan.cell else ""
    parts = Table("part", "state", box=None, padding=(0, 2))
    targets = Table("LoRA target", box=None, padding=(0, 2))
    for table, headings in ((parts, ("trained", "parameters")), (targets, ("modules", "parameters"))):
        for heading in headings:
            table.add_column(heading, justify="right")
    for part in plan.parts:
        parts.add_row(escape(part.name), part.state, f"{part.trained:,}", f"{part.total:,}")
    for target in plan.targets:
        targets.add_row(escape(target.target), f"{target.modules:,}", f"{target.parameters:,}")
    return Group(
        Text(f"\nWhat would be trained{cell}: {share(plan.trainable, plan.total)}", style="bold"),
        parts,
        *([targets] if plan.targets else []),
        *([_stages_table(plan)] if plan.stages else []),
        *(Text(f"  {name}: {value}") for name, value in _plan_facts(plan)),
        *(Text(f"  {warning}", style="yellow") for warning in plan.warnings),
    )


def _stages_table(plan: TrainingPlan) -> Table:
    """Parts, parameters, steps and data of each stage, one below the other to fit into 80 columns."""
    table = Table("stage", "", box=None, padding=(0, 2))
    for stage in plan.stages:
        trained = ", ".join(f"{part.name} {part.state}" for part in stage.parts if part.trained)
        table.add_row(Text(stage.name, "bold"), escape(f"{trained}: {share(stage.trainable, plan.total)}"))
        steps = f"{counted(stage.steps, 'step')} of {counted(stage.batch, 'sample')}"
        table.add_row("", f"{steps}, {_passes(stage.passes, plan)}")
        epochs = "" if stage.epochs is None else f", {stage.epochs:.1f} epochs"
        table.add_row("", f"learning rate {stage.learning_rate:g} at its peak{epochs}")
        table.add_row("", escape(_data_text(stage.data)))
    return table


def _passes(passes: int, plan: TrainingPlan) -> str:
    split = f"{passes} forward passes" if passes > 1 else "one forward pass"
    split += " (cached gradients: two for each micro-batch)" if plan.cached_gradients and passes > 1 else ""
    return split + (f" in each of {plan.processes} processes" if plan.processes > 1 else "")


def _plan_facts(plan: TrainingPlan) -> Iterator[tuple[str, str]]:
    yield "method", plan.method
    if not plan.stages:
        yield "learning rate", f"{plan.learning_rate:g} at its peak"
        steps = f"{plan.steps:,} of {counted(plan.batch, 'sample')}"
        yield "steps", f"{steps}, {_passes(plan.passes, plan)}"
        if plan.epochs is not None:
            yield "epochs", f"{plan.epochs:.1f} passes over the training data"
    of = " of the last stage" if plan.stages else ""
    yield "best step", f"by {plan.select_by} on the validation split{of}" if plan.select_by else "the last"
    yield "evaluation", f"every {counted(plan.evaluate_every, 'step')}" if plan.evaluate_every else "none"
    yield "checkpoints", f"every {counted(plan.save_every, 'step')}"
    if not plan.stages:
        yield "data", _data_text(plan.data)
    learned = [stage.data for stage in plan.stages] or [plan.data]
    sizes = f"{' and '.join(_size(data.n) for data in learned)} to train on, {_size(plan.test)} to score"
    yield "samples", f"{sizes}, {_size(plan.validation)} to validate" if plan.select_by else sizes
    yield "augmentation", "; ".join(starmap(_perturbation, plan.augment.items())) or "none"
    yield "keep checks", ", ".join(plan.keep) or "none"


def _data_text(data: TrainedOnPart) -> str:
    return ", ".join(part for part in (data.path, data.name, f"split {data.split}", _size(data.n)) if part)


def _size(n: int | None) -> str:
    return "a stream" if n is None else counted(n, "sample")


def _perturbation(name: str, value: Any) -> str:
    """One kind of augmentation with its settings."""
    if isinstance(value, dict):
        value = " ".join(f"{key} {each}" for key, each in value.items() if each is not None)
    return f"{name} {value}"
