"""Describes a model and its optimizers without running them.

Called by integrations on the training thread when a training begins. Reads names, types and element counts; never a
value of a parameter, never a forward pass, never a random number.
"""

from __future__ import annotations

from typing import Any

from tracelet.integrations.object_settings import class_name, settings_of

CHILDREN = 200
"""More direct children than this are a list of layers; the total includes the counts of the rest."""


def describe_model(module: Any) -> dict[str, Any]:
    """Class, parameter counts, and the same for each direct child."""
    total, trainable = count_parameters(module)
    children = []
    for name, child in list(module.named_children())[:CHILDREN]:
        of_child, trainable_of_child = count_parameters(child)
        children.append(
            {
                "name": name, "type": type(child).__name__, "parameters": of_child,
                "trainable_parameters": trainable_of_child,
            }
        )  # fmt: skip
    return {
        "class": class_name(module),
        "parameters": total,
        "trainable_parameters": trainable,
        "children": children,
    }


def count_parameters(module: Any) -> tuple[int, int]:
    """(all, trainable) elements; a shared parameter counts once, one without a shape does not count."""
    total = trainable = 0
    for parameter in module.parameters():
        if type(parameter).__name__ == "UninitializedParameter":
            continue
        size = int(parameter.numel())
        total += size
        trainable += size if parameter.requires_grad else 0
    return total, trainable


def describe_optimizers(trainer: Any) -> dict[str, Any]:
    """Class and arguments of the optimizers and schedulers that Lightning really uses."""
    described: dict[str, Any] = {}
    for index, optimizer in enumerate(trainer.optimizers):
        described[f"optimizer/{index}"] = describe_optimizer(optimizer)
    for index, config in enumerate(trainer.lr_scheduler_configs):
        described[f"scheduler/{index}"] = describe_scheduler(config.scheduler) | _interval(config)
    return described


def describe_optimizer(optimizer: Any) -> dict[str, Any]:
    """Class and arguments of an optimizer, of each parameter group if there are several."""
    described: dict[str, Any] = {"class": class_name(optimizer)}
    groups = [
        {name: value for name, value in group.items() if name != "params"}
        for group in getattr(optimizer, "param_groups", ())
    ]
    if len(groups) == 1:
        described.update(groups[0])
    else:
        described["groups"] = {str(index): group for index, group in enumerate(groups)}
    return described


def describe_scheduler(scheduler: Any) -> dict[str, Any]:
    """Class and arguments of a learning rate scheduler; what it counts is none of them."""
    return settings_of(scheduler)


def _interval(config: Any) -> dict[str, Any]:
    return {
        "interval": config.interval, "frequency": config.frequency,
        **({"monitor": config.monitor} if config.monitor else {}),
    }  # fmt: skip
