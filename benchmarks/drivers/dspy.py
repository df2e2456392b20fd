"""DSPy's side: one `Predict` under `Evaluate`, as its documentation shows."""

import os

import dspy


def calls(spec, stopwatch):
    """Evaluate one program on all questions over HTTP, with DSPy's disk cache."""
    lm = dspy.LM("openai/bench", api_base=spec["url"], api_key="none", timeout=spec["timeout"], cache=True)
    dspy.configure(lm=lm)
    program = dspy.Predict(dspy.Signature("text -> label", spec["prompt"]))
    examples = [dspy.Example(text=q["text"], label=q["label"]).with_inputs("text") for q in spec["questions"]]
    for q in spec["warm"]:
        program(text=q["text"])

    def right(example, prediction, trace=None):
        return float(example.label == prediction.label)

    evaluate = dspy.Evaluate(devset=examples, metric=right, num_threads=spec["level"], max_errors=len(examples))
    with stopwatch.running():
        found = evaluate(program)
    answers = [getattr(prediction, "label", None) for _, prediction, _ in found.results]
    return {
        "answers": answers,
        "score": found.score / 100,
        "missing": sum(a is None for a in answers),
        "cache_folder": os.environ.get("DSPY_CACHEDIR", "") != "",
    }
