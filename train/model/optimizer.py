"""AdamW with decoupled decay, and which parameters a bf16 run keeps in fp32.

Guarantees: biases, norms and other one-dimensional parameters are never decayed; a group holds
parameters of one type only, as ZeRO flattens each group into one tensor.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypedDict

import torch

from tsqa.errors import RecipeError
from tsqa.recipe import TrainSection

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine
    from transformers import PreTrainedModel


class ParameterGroup(TypedDict):
    """Parameters of one type that decay alike, as torch's optimizers take them."""

    params: list[torch.nn.Parameter]
    weight_decay: float


def build_optimizer(model: PreTrainedModel, train: TrainSection) -> torch.optim.AdamW:
    """Build the optimizer of a model that DeepSpeed has not yet wrapped."""
    groups = [{**group} for group in parameter_groups(model, train)]
    return torch.optim.AdamW(groups, lr=train.lr, betas=train.betas, eps=train.eps, fused=True)


def parameter_groups(model: PreTrainedModel, train: TrainSection) -> list[ParameterGroup]:
    """Group the parameters by decay and by type.

    Under ZeRO-3 a loaded model's parameters are already flat, hence `ds_shape`.
    """
    kept = set(map(id, fp32_parameters(model, train)))
    spared = set()
    if not train.decay_embeddings:
        layers = (model.get_input_embeddings(), model.get_output_embeddings())
        spared = {id(layer.weight) for layer in layers if layer is not None}
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {
        key: [] for key in itertools.product((True, False), (False, True))
    }
    for parameter in model.parameters():
        if parameter.requires_grad:
            matrix = len(getattr(parameter, "ds_shape", parameter.shape)) >= 2
            decayed = matrix and id(parameter) not in spared
            groups[decayed, id(parameter) in kept].append(parameter)
    return [
        {"params": members, "weight_decay": train.weight_decay if decayed else 0.0}
        for (decayed, _), members in groups.items()
        if members
    ]


def fp32_parameters(model: torch.nn.Module, train: TrainSection) -> list[torch.nn.Parameter]:
    """Find the parameters that `train.fp32_parameters` names; none in an fp32 run."""
    if train.precision == "fp32":
        return []
    kept: dict[str, torch.nn.Parameter] = {}
    for ending in train.fp32_parameters:
        found = {n: p for n, p in model.named_parameters() if _ends_with(n, ending)}
        if not found:
            raise RecipeError(
                f"train.fp32_parameters: no parameter of the model is called {ending}",
                f"name one, such as {next(iter(dict(model.named_parameters())))}",
            )
        kept |= found
    return list(kept.values())


def compute_norms_in_fp32(model: torch.nn.Module, kept: Sequence[torch.nn.Parameter]) -> None:
    """Make norms whose weights are in `kept` compute in fp32 and return bf16.

    Otherwise an fp32 weight would turn all activations after it into fp32; a NemotronH block even
    casts the input of its norm to the type of that weight.
    """
    members = set(map(id, kept))
    for name, module in model.named_modules():
        own = module.parameters(recurse=False)
        if "norm" in name.rpartition(".")[2] and any(id(parameter) in members for parameter in own):
            module.forward = _in_fp32(module.forward)


def _in_fp32(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @functools.wraps(forward)
    def wide(hidden: torch.Tensor, *others: object, **named: object) -> torch.Tensor:
        return forward(_wide(hidden), *map(_wide, others), **named).to(torch.bfloat16)

    return wide


def _wide(value: object) -> object:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.float()
    return value


@contextmanager
def casts_spare(parameters: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """Keep `parameters` in fp32 while DeepSpeed casts the model that it wraps to bf16.

    DeepSpeed has such a setting for buffers only; ZeRO-1 and ZeRO-2 handle groups of either type.
    """
    from deepspeed.runtime.engine import DeepSpeedEngine

    cast = DeepSpeedEngine._cast_module_mixed_precision

    def cast_others(engine: DeepSpeedEngine, *arguments: object) -> None:
        values = [parameter.data.float() for parameter in parameters]
        cast(engine, *arguments)
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data = value

    DeepSpeedEngine._cast_module_mixed_precision = cast_others
    try:
        yield
    finally:
        DeepSpeedEngine._cast_module_mixed_precision = cast


def _ends_with(name: str, ending: str) -> bool:
    return name == ending or name.endswith("." + ending)
