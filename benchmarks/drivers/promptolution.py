"""promptolution's side: `APILLM` and `ClassificationTask.evaluate`."""

import pandas as pd
from promptolution.llms.api_llm import APILLM
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
