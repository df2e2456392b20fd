"""Prompts of models that read images."""
