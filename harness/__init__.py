"""Fine-tune, evaluate and compare multimodal models from one declarative task file."""

__version__ = "0.1.0"
