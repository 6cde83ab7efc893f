"""Numbers out of whatever programs log, and a clear error for what is none."""

from __future__ import annotations

import math
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tracelet.capture.scalars import checked_value, resolve
from tracelet.errors import InvalidMetric

GOOD = [
    (1, 1.0), (True, 1.0), (False, 0.0), (0.1, 0.1), (Decimal("0.1"), 0.1), (Fraction(1, 3), 1 / 3),
    (2**70, float(2**70)), (np.float32(0.1), float(np.float32(0.1))), (np.float64(0.1), 0.1), (np.float16(0.5), 0.5),
    (np.int8(-3), -3.0), (np.uint64(2**64 - 1), float(2**64 - 1)), (np.bool_(True), 1.0), (np.array(2.5), 2.5),
    (np.array([2.5]), 2.5), (np.longdouble(0.5), 0.5), (torch.tensor(0.5), 0.5), (torch.tensor([0.5]), 0.5),
    (torch.tensor([[7]]), 7.0), (torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
    (torch.tensor(0.5, dtype=torch.half), 0.5),
    (torch.tensor(0.1, dtype=torch.float64), 0.1), (torch.tensor(0.5, requires_grad=True), 0.5),
    (torch.tensor(True), 1.0), (torch.nn.Parameter(torch.tensor(0.5)), 0.5), (math.inf, math.inf),
]  # fmt: skip


@pytest.mark.parametrize(("value", "number"), GOOD, ids=[f"{type(v).__name__}-{i}" for i, (v, _) in enumerate(GOOD)])
def test_one_number_of_any_kind_is_taken(value: Any, number: float) -> None:
    """Python, numpy and torch numbers of any type become the float that they are, through both doors."""
    assert resolve([checked_value("m", value)]) == [number]
    if not isinstance(value, (np.ndarray, Decimal)):
        assert resolve([value]) == [number]


class Awkward:
    """An object whose `item` fails as tensors of other frameworks do."""

    def item(self) -> float:
        raise RuntimeError("not on this device")


BAD = [
    "0.5", b"1", None, [1.0], (1,), {}, {"a": 1}, object(), 1j, np.array([1.0, 2.0]), np.array([]), np.complex64(1j),
    np.datetime64("2020-01-01"), torch.ones(2), torch.ones(0), torch.tensor(1j), Decimal("sNaN"), 10**400, Awkward(),
    Fraction(10**400), float, np.str_("1"),
]  # fmt: skip


@pytest.mark.parametrize("value", BAD, ids=[f"{type(v).__name__}-{i}" for i, v in enumerate(BAD)])
def test_what_is_not_one_number_is_an_error_that_names_the_metric(value: Any) -> None:
    """Anything else is InvalidMetric with the metric's name, and says what to do instead."""
    with pytest.raises(InvalidMetric, match="'loss'"):
        checked_value("loss", value)


@pytest.mark.parametrize("name", ["", None, 3, b"loss", ("a",)])
def test_a_name_is_a_string(name: object) -> None:
    """A metric without a proper name is an error with an example."""
    with pytest.raises(InvalidMetric, match="log_metric"):
        checked_value(name, 1.0)


@given(st.lists(st.one_of(st.floats(), st.integers(-(2**60), 2**60), st.floats(width=32).map(np.float32))))
def test_resolving_keeps_order_and_values(values: list[Any]) -> None:
    """A mixed list is resolved place by place."""
    assert [repr(value) for value in resolve(values)] == [repr(float(value)) for value in values]


def test_what_is_no_number_is_an_error_for_the_packer() -> None:
    """Resolving something impossible raises what the packer expects, not something else."""
    for bad in ("x", None, object(), torch.ones(3), 10**400):
        with pytest.raises((TypeError, ValueError, OverflowError, RuntimeError)):
            resolve([1.0, bad])


def test_a_logged_tensor_is_the_value_of_that_moment() -> None:
    """A tensor that the program changes after logging it keeps its logged value."""
    tensor = torch.tensor(1.0)
    taken = checked_value("m", tensor)
    tensor.mul_(5)
    assert resolve([taken]) == [1.0]


def test_neither_numpy_nor_torch_is_loaded_for_plain_numbers() -> None:
    """Recording a Python number loads no heavy library, and works where numpy cannot be imported at all."""
    code = (
        "import sys; sys.modules['numpy'] = None; sys.modules['torch'] = None\n"
        "import tracelet\n"
        "with tracelet.start_logging('x', config=dict(track_system=False, track_git=False, track_env=False,\n"
        "                            track_lightning=False, delivery='off')) as run:\n"
        "    for step in range(100): run.log_metrics({'a': step, 'b': 0.5, 'c': step % 2 == 0}, step)\n"
        "print(run.folder)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    import tracelet

    run = tracelet.open_store().run("latest")
    assert str(run.path) == done.stdout.strip()
    assert run.problems == []
    assert run.series("a").values.tolist() == list(range(100))
    assert run.series("c").values.tolist() == [1.0, 0.0] * 50
