"""Systems that move weights."""
