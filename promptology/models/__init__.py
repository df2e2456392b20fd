"""Access protocols and one adapter per file."""
