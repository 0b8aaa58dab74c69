"""The fine-tuning of a task's cell: from the task's words to a training, and from a training to records."""
