"""Annotated photos to fine-tuned, measured models: the learning loop."""
