"""promptolution's side: `APILLM` and `ClassificationTask.evaluate`."""

import zlib

import numpy as np
import pandas as pd
from promptolution.llms.api_llm import APILLM
from promptolution.llms.base_llm import BaseLLM
from promptolution.predictors.first_occurrence_predictor import FirstOccurrencePredictor
from promptolution.tasks.classification_tasks import ClassificationTask
from promptolution.utils.prompt import Prompt


def calls(spec, stopwatch):
    """Evaluate one prompt on all questions over HTTP; its cache is a dictionary, so nothing is durable."""
    llm = APILLM(
        api_url=spec["url"],
        model_id="bench",
        api_key="none",
        max_concurrent_calls=spec["level"],
        max_tokens=256,
        call_timeout_s=spec["timeout"],
    )
    predictor = FirstOccurrencePredictor(llm, spec["classes"])
    task = ClassificationTask(frame(spec["questions"]), eval_strategy="full")
    prompt = Prompt(spec["prompt"])
    ClassificationTask(frame(spec["warm"]), eval_strategy="full").evaluate(prompt, predictor)
    failure = ""
    with stopwatch.running():
        try:
            found = task.evaluate(prompt, predictor)
        except RuntimeError as error:  # one answer that never came ends its whole batch
            failure = str(error)
    if failure:
        return {"answers": [None] * len(spec["questions"]), "score": 0.0, "missing": 0, "failure": failure[:200]}
    said = [str(s).rsplit("\n", 1)[-1] for s in found.sequences[0]]
    return {"answers": said, "score": float(found.agg_scores[0]), "missing": 0, "failure": ""}


def frame(rows):
    """Return questions as a data frame."""
    return pd.DataFrame({"x": [q["text"] for q in rows], "y": [q["label"] for q in rows]})


def search(spec, stopwatch):
    """Run OPRO with an instant model under a token limit worth the wanted calls."""
    from promptolution.optimizers.opro import OPRO
    from promptolution.utils.callbacks import TokenCountCallback

    llm = Instant()
    predictor = FirstOccurrencePredictor(llm, spec["classes"])
    task = ClassificationTask(frame(spec["validation"]), "Classify the text.", eval_strategy="full")
    llm.get_response(f"{START}\n{spec['validation'][0]['text']}")
    each = llm.get_token_count()["total_tokens"]
    llm.reset_token_count()
    llm.calls = 0
    allowed = each * spec["calls"]
    np.random.seed(0)
    stop = TokenCountCallback(allowed, "total_tokens")
    optimizer = OPRO(predictor, task, llm, initial_prompts=[START], callbacks=[stop])
    with stopwatch.running():
        optimizer.optimize(10**6)
    return {"calls": llm.calls, "used": llm.get_token_count()["total_tokens"], "allowed": allowed}


START = "Classify the text (variant 0)."


class Instant(BaseLLM):
    """Right where a bit of a checksum of variant and item says so; counts its calls."""

    def __init__(self):
        super().__init__()
        self.calls = self.variants = 0

    def _get_response(self, prompts, system_prompts):
        self.calls += len(prompts)
        return [self.say(prompt) for prompt in prompts]

    def say(self, prompt):
        """Answer a question, or reword an instruction."""
        if "<prompt>" in prompt:
            self.variants += 1
            return f"<prompt>Classify the text (variant {self.variants}).</prompt>"
        code = prompt[prompt.rfind("item-") :][:19]
        begin = prompt.find("(variant ") + 9
        right = zlib.crc32(f"{prompt[begin : prompt.find(')', begin)]} {code}".encode()) & 1
        classes = ("billing", "delivery", "account", "technical")
        return classes[(int(code[-8:], 16) + (0 if right else 1)) % 4]
