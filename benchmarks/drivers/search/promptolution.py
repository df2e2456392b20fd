"""promptology's rewriter and task model under promptolution's optimizers: `EvoPromptGA`, `EvoPromptDE`, `OPRO`, `CAPO`.

The shim is two objects of its `BaseLLM`. As task model it gets "prompt, line break, input", splits it there (an input
has one line), and writes class names of two words as one, since `FirstOccurrencePredictor` reads single words. As
rewriter it hands on the meta-prompt as it stands. Settings are promptolution's defaults. Validation items score;
training items are CAPO's pool of examples. The first population of EvoPrompt and CAPO is the common start and nine
prompts by promptolution's own `create_prompts_from_task_description` (ten is its default size); OPRO begins with the
start. What it would return now is the prompt with the best score, as all of them sort by score; examples that CAPO puts
beside an instruction tell these models nothing, and its instruction alone is noted.
"""

import random

import numpy as np
import pandas as pd
from promptolution.llms.base_llm import BaseLLM
from promptolution.optimizers.capo import CAPO
from promptolution.optimizers.evoprompt_de import EvoPromptDE
from promptolution.optimizers.evoprompt_ga import EvoPromptGA
from promptolution.optimizers.opro import OPRO
from promptolution.predictors.first_occurrence_predictor import FirstOccurrencePredictor
from promptolution.tasks.classification_tasks import ClassificationTask
from promptolution.utils.formatting import extract_from_tag
from promptolution.utils.prompt_creation import create_prompts_from_task_description
from searching import list_of, one_word, searched, squeezed

OPTIMIZERS = {"EvoPrompt GA": EvoPromptGA, "EvoPrompt DE": EvoPromptDE, "OPRO": OPRO, "CAPO": CAPO}
POPULATION = 10
ENDLESS = 10**6


def run(spec, stopwatch):
    """Search with one optimizer on all cases."""
    return searched(spec, stopwatch, lambda case, models: search(spec, case, models))


def search(spec, case, models):
    """Search until the calls are used up."""
    random.seed(case["seed"])
    np.random.seed(case["seed"])
    kind = OPTIMIZERS[spec["method"]]
    solver, writer = Solver(models), Writer(models)
    predictor = FirstOccurrencePredictor(solver, [squeezed(c) for c in spec["classes"]])
    task = ClassificationTask(frame(case["validation"]), spec["start"], seed=case["seed"], metric=right)
    prompts, more = [spec["start"]], {}
    models.counter.keep(spec["start"])
    if kind is not OPRO:
        prompts += create_prompts_from_task_description(spec["start"], writer, n_prompts=POPULATION - 1)
    if kind is CAPO:
        more = {"df_few_shots": frame(case["train"])}
    optimizer = kind(predictor, task, meta_llm=writer, initial_prompts=prompts, **more)
    solver.watched = writer.watched = optimizer
    optimizer.optimize(ENDLESS)


def right(wanted, said):
    """Return the accuracy of one answer: the default metric, sklearn's, gives the same and takes a millisecond."""
    return float(wanted == said)


def frame(rows):
    """Return items as a data frame."""
    return pd.DataFrame({"x": [x for x, _ in rows], "y": [squeezed(y) for _, y in rows]})


class Shim(BaseLLM):
    """Hands requests to the common models; notes before each batch what the optimizer would return."""

    def __init__(self, models):
        super().__init__()
        self.models = models
        self.watched = None

    def note(self):
        """Note the prompt with the best score so far."""
        scores = getattr(self.watched, "scores", ())
        if len(scores) and len(scores) == len(self.watched.prompts):
            self.models.counter.keep(self.watched.prompts[int(np.argmax(scores))].instruction)


class Solver(Shim):
    """The task's model."""

    def _get_response(self, prompts, system_prompts):
        self.note()
        said = []
        for prompt in prompts:
            before, _, text = prompt.rpartition("\n")
            said.append(one_word(self.models.solve(before, text), self.models.spec["classes"]))
        return said


class Writer(Shim):
    """The rewriter; counts which of its replies promptolution can use."""

    def _get_response(self, prompts, system_prompts):
        self.note()
        return [self.reply(prompt) for prompt in prompts]

    def reply(self, request):
        """Return the reply to a meta-prompt."""
        text = self.models.write(request)
        counter, known = self.models.counter, self.models.spec["known"]
        wanted = "json format" in request
        for made in list_of(text) or [""] if wanted else [extract_from_tag(text, "<prompt>", "</prompt>")]:
            counter.proposed(made, known)
        return text
