"""What the sides of the scoring benchmark share: prompts that begin alike, and the labels to choose from."""

import tiny


def prompts_of(spec):
    """Return one text per (candidate, item): the candidate's words, then the item's; and the labels' texts."""
    vocab = spec["shape"]["vocab"]
    candidates = texts(tiny.tokens_of(spec["candidates"], spec["shared"], vocab, 1))
    items = texts(tiny.tokens_of(spec["items"], spec["own"], vocab, 2))
    labels = [" " + text for text in texts(tiny.tokens_of(spec["labels"], spec["label_tokens"], vocab, 3))]
    return [f"{candidate} {item}" for candidate in candidates for item in items], labels


def texts(rows):
    """Return rows of tokens as words."""
    return [" ".join(f"w{n}" for n in row) for row in rows.tolist()]
