"""peft's side: prompt tuning, prefix tuning and P-tuning through `get_peft_model`, loss as its models return it."""

import peft
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
    base = tiny.model_of(case["shape"])
    base.config.use_cache = case["kind"] == "prefix"  # off as a Trainer sets it; prefixes need it
    seq2seq = case["shape"]["family"] == "t5"
    task = {"task_type": "SEQ_2_SEQ_LM", "num_transformer_submodules": 1} if seq2seq else {"task_type": "CAUSAL_LM"}
    task["num_virtual_tokens"] = case["tokens"]
    model = peft.get_peft_model(base, CONFIGS[case["kind"]](case, task))
    model.train()  # what a Trainer does; there is no dropout
    encoder = model.prompt_encoder["default"]
    with torch.no_grad():
        encoder.embedding.weight.copy_(tiny.start_of(encoder.embedding.weight.shape, scale=case["scale"]))
        if case["kind"] == "p-tuning":
            encoder.mlp_head.load_state_dict(soft.mlp(case["shape"]["width"], case["hidden"]).state_dict())

    def loss(batch):
        _, texts, targets = batch
        if seq2seq:
            return model(input_ids=texts, attention_mask=torch.ones_like(texts), labels=targets).loss
        rows = torch.cat([texts, targets], dim=1)
        labels = torch.cat([torch.full_like(texts, -100), targets], dim=1)
        return model(input_ids=rows, attention_mask=torch.ones_like(rows), labels=labels).loss

    return soft.Step([p for p in model.parameters() if p.requires_grad], loss)


CONFIGS = {
    "prompt": lambda case, task: peft.PromptTuningConfig(**task),
    "prefix": lambda case, task: peft.PrefixTuningConfig(**task),
    "p-tuning": lambda case, task: peft.PromptEncoderConfig(**task, encoder_hidden_size=case["hidden"]),
}
