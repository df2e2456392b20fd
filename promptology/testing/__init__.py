"""Contract tests for methods, models and stores, for third parties too."""

from promptology.testing.stores import check_store

__all__ = ["check_store"]
