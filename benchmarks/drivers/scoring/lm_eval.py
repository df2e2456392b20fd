"""lm-eval's side: `HFLM.loglikelihood` of every label behind every prompt."""

import choices
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM


def score(spec, stopwatch):
    """Return the time, and the log-probabilities."""
    return choices.score(spec, stopwatch, prepare)


def prepare(model, tokenizer, spec):
    """Return the scoring function; one-token labels of a prompt share its forward pass, as is lm-eval's default."""
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=spec["batch"], device="cpu")

    def run(prompts, labels):
        pairs = [(prompt, label) for prompt in prompts for label in labels]
        asked = [Instance("loglikelihood", {}, pair, n) for n, pair in enumerate(pairs)]
        return [value for value, _ in harness.loglikelihood(asked, disable_tqdm=True)]

    return run
