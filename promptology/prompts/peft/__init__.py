"""PEFT folders in and out: prompt tuning, P-tuning, prefix tuning and LoRA as the `peft` package writes them."""

from promptology.prompts.peft.folder import adapters_in, is_peft_folder
from promptology.prompts.peft.reading import read_peft
from promptology.prompts.peft.writing import Exported, write_peft

__all__ = ["Exported", "adapters_in", "is_peft_folder", "read_peft", "write_peft"]
