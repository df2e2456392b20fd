"""Soft prompts and readouts for language models."""
