"""Arrays of any library as the program logs them: copied on its thread, and turned into numpy arrays on the recorder's.

Imports no library of the program: a tensor can only come from a loaded torch. A tensor on a GPU is copied there, and
read on a CUDA stream of its own, so that the training's streams never wait.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from tracelet.capture.scalars import with_stream
from tracelet.errors import InvalidMedia

if TYPE_CHECKING:
    import numpy

NUMERIC = "biuf"
"""numpy's letters for boolean, integer, unsigned and floating types."""


def is_tensor(data: Any) -> bool:
    """Whether it is a tensor of torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(data, torch.Tensor)


def is_array(data: Any) -> bool:
    """Whether it is an array of numpy, torch, jax, cupy, ...: it has a shape and a type, and can be copied."""
    return is_tensor(data) or (
        hasattr(data, "shape") and hasattr(data, "dtype") and hasattr(type(data), "__array__") and not _is_frame(data)
    )


def _is_frame(data: Any) -> bool:
    return hasattr(data, "columns") or hasattr(data, "to_frame")


def is_numeric(data: Any) -> bool:
    """Whether an array holds real numbers."""
    if is_tensor(data):
        return not (data.is_complex() or data.is_sparse or data.is_quantized)
    return getattr(data.dtype, "kind", "") in NUMERIC or str(data.dtype) == "bfloat16"


def copied(data: Any) -> Any:
    """A copy of an array of numbers, on its device. Raises `InvalidMedia` for anything else."""
    if is_tensor(data):
        if not is_numeric(data):
            raise InvalidMedia(f"a tensor of type {data.dtype} ({data.layout}) is no array of real numbers")
        clone = data.detach().clone()
        return clone if clone.device.type == "cpu" else with_stream(clone)
    import numpy

    found = numpy.array(data)  # copies
    if found.dtype.kind not in NUMERIC and str(found.dtype) != "bfloat16":
        raise InvalidMedia(f"a {type(data).__name__} of type {found.dtype} is no array of real numbers")
    return found


def shape_of(array: Any) -> tuple[int, ...]:
    """Its lengths."""
    return tuple(int(length) for length in array.shape)


def size_in_memory(array: Any) -> int:
    """Its bytes."""
    return int(array.numel() * array.element_size()) if is_tensor(array) else int(array.nbytes)


def to_numpy(array: Any) -> numpy.ndarray[Any, Any]:
    """A copy that was made by `copied`, as a numpy array; types that numpy does not have become float32."""
    import numpy

    if not is_tensor(array):
        return array.astype(numpy.float32) if array.dtype.kind not in NUMERIC else numpy.asarray(array)
    host = _on_host(array)
    torch = sys.modules["torch"]
    if host.dtype in {torch.bfloat16, *(kind for name in FLOAT8 if (kind := getattr(torch, name, None)))}:
        host = host.to(torch.float32)
    found: numpy.ndarray[Any, Any] = host.resolve_neg().numpy()
    return found


FLOAT8 = "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"


def quiet() -> AbstractContextManager[Any]:
    """Without numpy's warnings about numbers, which would appear in the program's output."""
    numpy = sys.modules.get("numpy")
    return nullcontext() if numpy is None else numpy.errstate(all="ignore")


def _on_host(tensor: Any) -> Any:
    if tensor.device.type != "cuda":
        return tensor.to("cpu")
    torch = sys.modules["torch"]
    side = torch.cuda.Stream(tensor.device)
    # The copy was queued on the training's stream: ours waits for it, the training's does not.
    side.wait_stream(getattr(tensor, "tracelet_stream", None) or torch.cuda.default_stream(tensor.device))
    with torch.cuda.stream(side):
        return tensor.to("cpu")
