"""Plain batched transformers: prompt and label of equal lengths in one batch, logits at the label's places only."""

import choices
import tiny
import torch


def score(spec, stopwatch):
    """Return log p(label | prompt), prompt by prompt."""
    model, tokenizer = tiny.model_of(spec["shape"]), tiny.tokenizer_of(spec["shape"]["vocab"])
    prompts, labels = choices.prompts_of(spec)
    run(model, tokenizer, prompts[:64], labels, spec["batch"])
    with stopwatch.running():
        found = run(model, tokenizer, prompts, labels, spec["batch"])
    return {"scores": found}


@torch.inference_mode()
def run(model, tokenizer, prompts, labels, batch):
    """Score all pairs; where all labels are one token, one row per prompt does for all of them."""
    ends = torch.tensor(tokenizer([label.strip() for label in labels])["input_ids"])
    rows = torch.tensor(tokenizer(prompts)["input_ids"])
    count, length = ends.shape
    if length > 1:
        rows = torch.cat([rows.repeat_interleave(count, 0), ends.repeat(len(rows), 1)[:, :-1]], 1)
    values = []
    for some in rows.split(batch):
        logits = model(input_ids=some, logits_to_keep=length, use_cache=False).logits
        values.append(torch.log_softmax(logits, -1))
    values = torch.cat(values)
    if length == 1:
        return values[:, 0, ends[:, 0]].flatten().tolist()
    wanted = ends.repeat(len(prompts), 1)
    return values.gather(2, wanted[:, :, None]).sum((1, 2)).tolist()
