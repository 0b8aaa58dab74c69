"""Fine-tuning: what of a network is trained, the loop that trains it, and what comes out.

It knows nothing about speech, images or text: a family offers `encode`, `items` and `loss`, a task's `train:`
section says the rest, and whoever calls hands in how the network is scored.
"""
