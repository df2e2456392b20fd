"""Claims: what each paper announces, fixed before any code, and how it is measured here."""
