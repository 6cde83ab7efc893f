"""In whatever order Lightning is imported, patched and unpatched: recorded while patched, and as found afterwards.

One subprocess has torch loaded and forks a fresh child for each order, because a library can be imported for the
first time only once in a process.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.environments import lightning_python

ORDERS = (
    "L S", "S L", "P S", "S P", "L P S", "P L S", "L S P", "S L P", "S P L", "L S X", "S X L", "S L X", "L S X S",
    "S L X P S", "L S X P S X", "S X S L P", "L S S X X S P",
)  # fmt: skip
"""L, P: import lightning.pytorch, pytorch_lightning. S, X: start, stop. After each step everything imported is
trained.
"""

SCRIPT = '''
import importlib, inspect, io, json, os, sys, types, warnings
warnings.simplefilter("ignore")
import torch, torchmetrics, logging
from torch.utils.data import DataLoader
from tracelet.integrations.lightning import LightningIntegration
from tracelet.integrations.patching import Patcher, _Finder
from tests.sinks import ListSink

FLAVOURS = {"L": "lightning.pytorch", "P": "pytorch_lightning"}

def train(name):
    pl = importlib.import_module(name)
    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__(); self.layer = torch.nn.Linear(2, 1)
        def training_step(self, batch, batch_idx):
            loss = self.layer(batch).mean(); self.log("loss", loss); return loss
        def configure_optimizers(self): return torch.optim.SGD(self.parameters(), 0.1)
    logging.getLogger(name).setLevel(logging.ERROR)
    trainer = pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                         enable_model_summary=False, accelerator="cpu")
    trainer.fit(Module(), DataLoader(torch.randn(4, 2), batch_size=2))

def owners():
    """Every class and module that we patch, as far as it is imported."""
    found = {}
    for patch in LightningIntegration(ListSink(), {"track_gradients": True}).patches():
        owner = sys.modules.get(patch.module)
        if owner is None: continue
        *path, attribute = patch.target.split(".")
        for step in path: owner = getattr(owner, step)
        found[patch.module + "." + ".".join(path)] = (owner, attribute)
        found["method " + patch.module + "." + patch.target] = (owner, attribute)
    return found

def snapshot():
    return {name: [(key, id(value)) for key, value in vars(owner).items() if key not in ("__warningregistry__",)]
            for name, (owner, _) in owners().items()}

def leftovers():
    found = [f"finder {finder}" for finder in sys.meta_path if isinstance(finder, _Finder)]
    for name, (owner, attribute) in owners().items():
        raw = vars(owner).get(attribute)
        if "__tracelet_switch__" in getattr(getattr(raw, "__func__", raw), "__dict__", {}): found.append(name)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("lightning", "pytorch_lightning", "lightning_fabric") and module.__spec__:
            if type(module.__spec__.loader).__module__.startswith("tracelet") or type(module.__loader__).__module__.startswith("tracelet"):
                found.append("loader of " + name)
    return found

def play(order):
    kept, problems, imported, before = ListSink(), [], [], {}
    integration, active = LightningIntegration(kept, {"track_gradients": True}), False
    for step in order.split():
        if step in FLAVOURS:
            importlib.import_module(FLAVOURS[step]); imported.append(FLAVOURS[step])
            if not active: before.update(snapshot())
        elif step == "S":
            integration.start(); active = True
        else:
            integration.stop(); active = False
        for name in imported:
            del kept[:]
            train(name)
            points = sum(isinstance(item, tuple) and item[0].name == "loss" for item in kept)
            if points != (2 if active else 0): problems.append(f"{points} points of {name} after {step} of {order}")
    integration.stop()
    problems += leftovers()
    now = snapshot()
    problems += [f"{name} is not as found" for name in before if now[name] != before[name]]
    return problems

results = {}
for order in json.loads(sys.argv[1]):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = play(order)
        except BaseException as error:
            answer = [repr(error)]
        os.write(writer, json.dumps(answer).encode()); os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file: results[order] = json.load(file)
    os.waitpid(child, 0)
print("RESULTS" + json.dumps(results))
'''  # noqa: E501


@pytest.fixture(scope="module")
def results() -> dict[str, list[str]]:
    """What went wrong in each order."""
    done = subprocess.run(
        [lightning_python(), "-c", SCRIPT, json.dumps(ORDERS)], capture_output=True, text=True, timeout=280, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    found: Any = json.loads(done.stdout.partition("RESULTS")[2])
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_records_while_patched_and_leaves_everything_as_found(order: str, results: dict[str, list[str]]) -> None:
    """Each imported flavour is recorded exactly while started; then no wrapper, finder or loader of ours is left."""
    assert results[order] == []
