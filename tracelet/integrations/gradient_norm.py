"""The 2-norm of the gradients that an optimizer is about to use.

Computed by integrations on the training thread if `track_gradients` is set. Never reads a device.
"""

from __future__ import annotations

from typing import Any

GRADIENT_NORM = "tracelet/grad_norm"
"""Many modules log a `grad_norm` of their own, which must not be mixed with ours."""


def total_norm(optimizer: Any) -> Any:
    """A one-element tensor on the gradients' device, or None if there are none."""
    import torch

    gradients = [
        parameter.grad.detach()
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None and not parameter.grad.is_sparse
    ]
    if not gradients:
        return None
    with torch.no_grad():
        device = gradients[0].device
        norms = [torch.linalg.vector_norm(gradient) for gradient in gradients]
        return torch.linalg.vector_norm(torch.stack([norm.to(device, torch.float32) for norm in norms]))
