"""Measurements of the announced effects, one file per method."""
