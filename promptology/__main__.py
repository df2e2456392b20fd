"""`python -m promptology`."""

from promptology.cli import main

main()
