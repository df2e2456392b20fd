"""Plain torch: virtual tokens concatenated to the embeddings of every row, logits at the targets' places only."""

import soft
import tiny
import torch


def losses(spec, stopwatch):
    """Return the losses of some steps, and their memory."""
    return soft.losses(spec, stopwatch, prepare)


def steps(spec, stopwatch):
    """Return the time of a step."""
    return soft.steps(spec, stopwatch, prepare)


def prepare(case):
    """Return the case ready to be trained."""
    model, tokens = tiny.model_of(case["shape"]), soft.prompt_of(case)
    table = model.get_input_embeddings()
    factors = [torch.nn.Parameter(f) for f in soft.offsets_of(case)] if case["kind"] == "dept" else []

    def loss(batch):
        _, texts, targets = batch
        rows = table(texts)
        if factors:
            rows = rows + factors[0] @ factors[1]
        each = tokens.expand(len(texts), -1, -1)
        if case["shape"]["family"] == "t5":
            return through_encoder(model, torch.cat([each, rows], dim=1), targets)
        parts = [rows[:, :-1], each, rows[:, -1:]] if case["kind"] == "behind" else [each, rows]
        hidden = torch.cat([*parts, table(targets[:, :-1])], dim=1)
        states = model.base_model(inputs_embeds=hidden, use_cache=False).last_hidden_state
        logits = model.get_output_embeddings()(states[:, -targets.shape[1] :])
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    return soft.Step([tokens, *factors], loss)


def through_encoder(model, hidden, targets):
    """Return the loss of an encoder-decoder whose encoder reads these embeddings."""
    states = model.get_encoder()(inputs_embeds=hidden).last_hidden_state
    return model(encoder_outputs=(states,), labels=targets, use_cache=False).loss
