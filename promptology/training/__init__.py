"""Training of what is learned inside a frozen model."""
