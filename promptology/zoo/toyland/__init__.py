"""Toyland: drawn scenes with exact attributes, captions and descriptions."""
