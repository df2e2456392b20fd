"""Our side: `score` of a local model, which runs what prompts share once."""

import choices

from promptology.models.local import wrap


def score(spec, stopwatch):
    """Return the time, and the log-probabilities."""
    return choices.score(spec, stopwatch, prepare)


def prepare(model, tokenizer, spec):
    """Return the scoring function."""
    local = wrap(model, tokenizer)

    def run(prompts, labels):
        return [value for row in local.score(prompts, [labels] * len(prompts)) for value in row]

    return run
