"""Contract tests for methods, models and stores, for third parties too."""
