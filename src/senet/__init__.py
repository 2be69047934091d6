"""Squeeze-and-Excitation networks for PyTorch (Hu et al., arXiv:1709.01507).

model = senet.create_model("se_resnet50", num_classes=10)
comparison, folder = senet.compare("photos/", model="resnet18", seeds=5)
senet.write_report(comparison, folder)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from senet.blocks.se_config import SEConfig as SEConfig
    from senet.blocks.squeeze_excitation import SqueezeExcitation as SqueezeExcitation
    from senet.cli.display import Display as Display
    from senet.cli.evaluate_display import EvaluationDisplay as EvaluationDisplay
    from senet.compiler.accelerate import accelerate as accelerate
    from senet.compiler.accelerate import fold as fold
    from senet.data.images import open_images as open_images
    from senet.errors import SenetError as SenetError
    from senet.experiments.collect import collect as collect
    from senet.experiments.compare import compare as compare
    from senet.experiments.evaluate import evaluate as evaluate
    from senet.experiments.evaluation_report import EvaluationReport as EvaluationReport
    from senet.experiments.jobs import JobReport as JobReport
    from senet.experiments.jobs import compare_job as compare_job
    from senet.experiments.progress import ComparisonProgress as ComparisonProgress
    from senet.experiments.progress import EvaluationProgress as EvaluationProgress
    from senet.experiments.prune_gates import prune_gates as prune_gates
    from senet.experiments.prune_report import PruneReport as PruneReport
    from senet.experiments.single import TrainedNetwork as TrainedNetwork
    from senet.experiments.single import train_one as train_one
    from senet.experiments.view_settings import ViewSettings as ViewSettings
    from senet.insight.cost import cost as cost
    from senet.insight.results import Comparison as Comparison
    from senet.kernels.explain import explain_kernels as explain_kernels
    from senet.networks.preprocess import Preprocess as Preprocess
    from senet.networks.provenance import Provenance as Provenance
    from senet.networks.zoo import list_models as list_models
    from senet.report.write import write_report as write_report
    from senet.surgery.insert import squeeze_excite as squeeze_excite
    from senet.surgery.insertion_report import InsertionReport as InsertionReport
    from senet.surgery.remove import remove as remove
    from senet.training.execution import Execution as Execution
    from senet.training.position import TrainingResult as TrainingResult
    from senet.training.progress import TrainingProgress as TrainingProgress
    from senet.training.recipe import Recipe as Recipe
    from senet.training.recipe_files import list_recipes as list_recipes
    from senet.training.recipe_files import load_recipe as load_recipe
    from senet.weights.create import create_model as create_model
    from senet.weights.load import load_weights as load_weights
    from senet.weights.released import list_weights as list_weights
    from senet.weights.report import LoadReport as LoadReport
    from senet.weights.save import save_weights as save_weights

__version__ = "0.1.0"

# Loaded when first used: importing senet, and so `senet --help`, must not import torch.
_HOMES = {
    "Provenance": "senet.networks.provenance",
    "Execution": "senet.training.execution",
    "TrainingResult": "senet.training.position",
    "TrainingProgress": "senet.training.progress",
    "TrainedNetwork": "senet.experiments.single",
    "EvaluationProgress": "senet.experiments.progress",
    "EvaluationDisplay": "senet.cli.evaluate_display",
    "Display": "senet.cli.display",
    "ComparisonProgress": "senet.experiments.progress",
    "Comparison": "senet.insight.results",
    "EvaluationReport": "senet.experiments.evaluation_report",
    "InsertionReport": "senet.surgery.insertion_report",
    "JobReport": "senet.experiments.jobs",
    "LoadReport": "senet.weights.report",
    "Preprocess": "senet.networks.preprocess",
    "PruneReport": "senet.experiments.prune_report",
    "Recipe": "senet.training.recipe",
    "SEConfig": "senet.blocks.se_config",
    "SenetError": "senet.errors",
    "SqueezeExcitation": "senet.blocks.squeeze_excitation",
    "ViewSettings": "senet.experiments.view_settings",
    "accelerate": "senet.compiler.accelerate",
    "collect": "senet.experiments.collect",
    "compare": "senet.experiments.compare",
    "compare_job": "senet.experiments.jobs",
    "create_model": "senet.weights.create",
    "list_models": "senet.networks.zoo",
    "list_recipes": "senet.training.recipe_files",
    "list_weights": "senet.weights.released",
    "load_recipe": "senet.training.recipe_files",
    "load_weights": "senet.weights.load",
    "cost": "senet.insight.cost",
    "evaluate": "senet.experiments.evaluate",
    "explain_kernels": "senet.kernels.explain",
    "fold": "senet.compiler.accelerate",
    "open_images": "senet.data.images",
    "prune_gates": "senet.experiments.prune_gates",
    "remove": "senet.surgery.remove",
    "save_weights": "senet.weights.save",
    "squeeze_excite": "senet.surgery.insert",
    "train_one": "senet.experiments.single",
    "write_report": "senet.report.write",
}

__all__ = [
    "Comparison",
    "ComparisonProgress",
    "Display",
    "EvaluationDisplay",
    "EvaluationProgress",
    "EvaluationReport",
    "Execution",
    "InsertionReport",
    "JobReport",
    "LoadReport",
    "Preprocess",
    "Provenance",
    "PruneReport",
    "Recipe",
    "SEConfig",
    "SenetError",
    "SqueezeExcitation",
    "TrainedNetwork",
    "TrainingProgress",
    "TrainingResult",
    "ViewSettings",
    "accelerate",
    "collect",
    "compare",
    "compare_job",
    "cost",
    "create_model",
    "evaluate",
    "explain_kernels",
    "fold",
    "list_models",
    "list_recipes",
    "list_weights",
    "load_recipe",
    "load_weights",
    "open_images",
    "prune_gates",
    "remove",
    "save_weights",
    "squeeze_excite",
    "train_one",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"senet has no attribute {name!r}; it has {', '.join(__all__)}.")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
