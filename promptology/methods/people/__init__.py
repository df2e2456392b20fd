"""Prompts learned from what a person does."""
