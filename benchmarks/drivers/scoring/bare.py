"""Plain batched transformers: prompt and label in one row, logits at the label's places only."""

import choices
import torch


def score(spec, stopwatch):
    """Return the time, and the log-probabilities."""
    return choices.score(spec, stopwatch, prepare)


def prepare(model, tokenizer, spec):
    """Return the scoring function; where all labels are one token, one row per prompt does for all of them."""

    @torch.inference_mode()
    def run(prompts, labels):
        ends = torch.tensor(tokenizer([label.strip() for label in labels])["input_ids"])
        rows = torch.tensor(tokenizer(prompts)["input_ids"])
        count, length = ends.shape
        if length > 1:
            rows = torch.cat([rows.repeat_interleave(count, 0), ends.repeat(len(rows), 1)[:, :-1]], 1)
        values = []
        for some in rows.split(spec["batch"]):
            logits = model(input_ids=some, logits_to_keep=length, use_cache=False).logits
            values.append(torch.log_softmax(logits, -1))
        values = torch.cat(values)
        if length == 1:
            return values[:, 0, ends[:, 0]].flatten().tolist()
        wanted = ends.repeat(len(prompts), 1)
        return values.gather(2, wanted[:, :, None]).sum((1, 2)).tolist()

    return run
