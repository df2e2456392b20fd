"""Our side: answers of a local model to requests that take learned prompts into it."""

import choices
import tiny

from promptology.injection import Filling
from promptology.models.access import Injected, Request
from promptology.models.local import wrap


def answers(spec, stopwatch):
    """Return the answers, and the time that they took."""
    shape = spec["shape"]
    model = wrap(tiny.model_of(shape), tiny.tokenizer_of(shape["vocab"]))
    size = (spec["tokens"], shape["width"])
    prompts = [
        Injected(f"prompt {n}", (Filling("input", tiny.start_of(size, 50 + n, scale=0.02)),))
        for n in range(1 if spec["way"] == "one prompt" else spec["prompts"])
    ]
    texts = choices.texts(tiny.tokens_of(spec["requests"], spec["text"], shape["vocab"], 9))
    requests = [
        Request.user(text, max_tokens=spec["answer"], injected=prompts[n % len(prompts)])
        for n, text in enumerate(texts)
    ]
    list(model.generate(requests[: len(prompts)]))  # keys and values of the prompts are kept from here on
    groups = [requests]
    if "one after" in spec["way"]:
        groups = [[r for r in requests if r.injected == prompt] for prompt in prompts]
    found = {}
    with stopwatch.running():
        for group in groups:
            found |= {id(group[n]): answer.text for n, answer in model.generate(group)}
    return {"texts": [found[id(request)] for request in requests]}
