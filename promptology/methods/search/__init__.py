"""Text by search."""
