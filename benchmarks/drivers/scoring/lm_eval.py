"""lm-eval's side: `HFLM.loglikelihood` of every label behind every prompt."""

import choices
import tiny
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM


def score(spec, stopwatch):
    """Return log p(label | prompt), prompt by prompt."""
    model, tokenizer = tiny.model_of(spec["shape"]), tiny.tokenizer_of(spec["shape"]["vocab"])
    prompts, labels = choices.prompts_of(spec)
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=spec["batch"], device="cpu")

    def asked(some):
        pairs = [(prompt, label) for prompt in some for label in labels]
        return [Instance("loglikelihood", {}, pair, n) for n, pair in enumerate(pairs)]

    harness.loglikelihood(asked(prompts[:64]), disable_tqdm=True)
    with stopwatch.running():
        found = harness.loglikelihood(asked(prompts), disable_tqdm=True)
    return {"scores": [value for value, _ in found]}
