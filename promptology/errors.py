"""Errors that a user sees, each one clear line: what, where, what to do."""


class PromptologyError(Exception):
    """Base of every error whose message is meant for the user; the command line exits with 2."""


class UsageError(PromptologyError):
    """Bad input: a file, a column, a name or a setting that cannot be used."""


class SealedSplitError(PromptologyError):
    """The labels of the test split were read outside evidence."""


class AccessError(PromptologyError):
    """A model does not offer the access that a method or a readout needs, or a method did not declare it."""


class ModelError(PromptologyError):
    """A model refused for good (wrong key, unknown model name, nothing listening)."""


class TooManyMissing(PromptologyError):
    """More answers are missing than the run tolerates."""


class ReplayError(PromptologyError):
    """The stored run and the code or data of today disagree."""


class StoreError(PromptologyError):
    """The store cannot be read or written."""


class ArtifactError(PromptologyError):
    """A prompt folder is incomplete, altered or unsafe."""


class BudgetEnded(BaseException):
    """Signal, not an error: the budget does not cover the next batch.

    It derives from BaseException so that a method that catches Exception around a model call cannot swallow it.
    """
