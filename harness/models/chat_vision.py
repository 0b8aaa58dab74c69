"""Which layers of a vision tower a chat model reads."""

from __future__ import annotations

from typing import Any

TOWER = "model.vision_tower"


def unread(config: Any) -> tuple[str, ...]:
    """Prefixes of the vision tower's modules whose output nobody reads: no gradient reaches them.

    LLaVA reads the last layer but one (`vision_feature_layer` counts from the embeddings, 0, or from the
    end); what comes behind the one that is read, its last norm and a pooling head among them, is computed
    for nothing. Empty where the config doesn't tell.
    """
    chosen = getattr(config, "vision_feature_layer", None)
    layers = getattr(getattr(config, "vision_config", None), "num_hidden_layers", None)
    if chosen is None or layers is None:
        return ()
    places = [chosen] if isinstance(chosen, int) else list(chosen)
    last = max(place if place >= 0 else layers + 1 + place for place in places)
    behind = [f"{TOWER}.encoder.layers.{number}" for number in range(last, layers)]
    return (*behind, f"{TOWER}.post_layernorm", f"{TOWER}.head")
