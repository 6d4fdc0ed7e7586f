"""Supervised finetuning: templates, packing, training, and what it will cost.

Importing this package loads no torch; training starts in a job process through `limit.finetune.train`.
"""

from limit.finetune.launch import launch_finetune
from limit.recipes import list_recipes, load_recipe

__all__ = ["launch_finetune", "list_recipes", "load_recipe"]
