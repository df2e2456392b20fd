"""Evidence: sealed-split scores with intervals, paired tests, comparison, report."""
