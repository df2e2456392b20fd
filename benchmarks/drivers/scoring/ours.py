"""Our side: `score` of a local model, which runs what prompts share once."""

import choices
import tiny

from promptology.models.local import wrap


def score(spec, stopwatch):
    """Return log p(label | prompt), prompt by prompt."""
    model = wrap(tiny.model_of(spec["shape"]), tiny.tokenizer_of(spec["shape"]["vocab"]))
    prompts, labels = choices.prompts_of(spec)
    model.score(prompts[:64], [labels] * 64)
    with stopwatch.running():
        found = model.score(prompts, [labels] * len(prompts))
    return {"scores": [value for row in found for value in row]}
