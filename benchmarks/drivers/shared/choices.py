"""What the sides of the scoring benchmark share: prompts that begin alike, the labels to choose from, the stopwatch."""

import tiny


def score(spec, stopwatch, prepare):
    """Return processor seconds of every case, and with "keep" log p(label | prompt), prompt by prompt.

    `prepare(model, tokenizer, spec)` returns the function from prompts and labels to these numbers.
    """
    model, tokenizer = tiny.model_of(spec["shape"]), tiny.tokenizer_of(spec["shape"]["vocab"])
    run = prepare(model, tokenizer, spec)
    seconds, scores = {}, {}
    for name, case in spec["cases"].items():
        prompts, labels = prompts_of(case, spec["shape"]["vocab"])
        run(prompts[:64], labels)
        before = stopwatch.cpu
        with stopwatch.running():
            scores[name] = run(prompts, labels)
        seconds[name] = stopwatch.cpu - before
    return {"seconds": seconds, **({"scores": scores} if spec.get("keep") else {})}


def prompts_of(case, vocab):
    """Return one text per (candidate, item): the candidate's words, then the item's; and the labels' texts."""
    candidates = texts(tiny.tokens_of(case["candidates"], case["shared"], vocab, 1))
    items = texts(tiny.tokens_of(case["items"], case["own"], vocab, 2))
    labels = [" " + text for text in texts(tiny.tokens_of(case["labels"], case["label_tokens"], vocab, 3))]
    return [f"{candidate} {item}" for candidate in candidates for item in items], labels


def texts(rows):
    """Return rows of tokens as words."""
    return [" ".join(f"w{n}" for n in row) for row in rows.tolist()]
