"""What plain PyTorch makes once is found without a call."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import tracelet
from tracelet import telemetry

SETTINGS = {"track_git": False, "track_env": False, "track_system": False, "delivery": "off", "quiet": True}


def spans_of(experiment: Any) -> list[tuple[str, Any]]:
    table = tracelet.open_store().run(experiment.id).spans()
    return [(span.name, span.attributes.get("class")) for span in table if span.name != "application"]


def test_loaders_and_optimizers() -> None:
    """A data loader and an optimizer are each one span, subclasses too; both work as before."""

    class Mine(torch.optim.SGD):
        pass

    with tracelet.start_logging("plain", config=SETTINGS) as experiment:
        loader: DataLoader[Any] = DataLoader(torch.arange(4), batch_size=2)  # type: ignore[arg-type]
        Mine([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3]]
    expected = [("data_loader_initialization", "DataLoader"), ("optimizer_initialization", Mine.__qualname__)]
    assert spans_of(experiment) == expected


def test_a_constructor_that_fails() -> None:
    """The span of a constructor that raises is closed with the error, which reaches the program unchanged."""
    refused = pytest.raises(ValueError, match="batch_size")
    with tracelet.start_logging("plain", config=SETTINGS) as experiment, refused:
        DataLoader(torch.arange(4), batch_size=-1)  # type: ignore[arg-type]
    (span,) = tracelet.open_store().run(experiment.id).spans("data_loader_initialization")
    assert span.error.startswith("ValueError")


def test_by_hand() -> None:
    """A program that opens these spans itself gets no further ones."""
    with tracelet.start_logging("plain", config=SETTINGS) as experiment:
        with telemetry.data_loader_init():
            DataLoader(torch.arange(4))  # type: ignore[arg-type]
        DataLoader(torch.arange(4))  # type: ignore[arg-type]
    assert spans_of(experiment) == [("data_loader_initialization", None)]


def test_process_group() -> None:
    """Making a process group is the span distributed_code_initialization, once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tracelet.start_logging("plain", config=SETTINGS) as experiment:
        torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
        torch.distributed.destroy_process_group()
    assert spans_of(experiment) == [("distributed_code_initialization", None)]


def test_put_back() -> None:
    """When the run ends PyTorch is what it was; without spans nothing is timed."""
    before = DataLoader.__init__, torch.optim.Optimizer.__init__, torch.distributed.init_process_group
    with tracelet.start_logging("plain", config={**SETTINGS, "track_spans": False}):
        assert DataLoader.__init__ is before[0]
    with tracelet.start_logging("plain", config=SETTINGS):
        assert DataLoader.__init__ is not before[0]
    assert (DataLoader.__init__, torch.optim.Optimizer.__init__, torch.distributed.init_process_group) == before
