"""Side-by-side benchmarks against released peers, each in its own environment. Run `python -m benchmarks --help`."""
