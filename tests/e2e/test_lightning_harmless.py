"""Training with the integration is, bit for bit, the training without it.

The same script runs in fresh interpreters, in a folder of the same name: without tracelet, with the integration alone,
and with a whole run, which samples the machine and hears the console too; it tells everything that a user could look
at, and all must have told the same.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.environments import lightning_python

ROOT = Path(__file__).parents[2]

SCRIPT = """
import contextlib, gc, hashlib, importlib, json, os, random, signal, sys, threading, warnings
flavour, tracked, recorded = sys.argv[1], sys.argv[2] == "tracked", sys.argv[2] == "recorded"
kept = []
if recorded:
    import tracelet
    tracelet.start_logging("whole", config={"dir": "../store", "quiet": True, "delivery": "off", "metrics_interval": 0.2, "track_gradients": True})
if tracked:
    from tracelet.capture.running_fits import RunningFits
    from tracelet.integrations.lightning import LightningIntegration
    class Sink:
        fits = RunningFits(lambda change: None)
        def emit(self, item): kept.append(item)
        def expect(self, *_): pass
        def flush(self, *_): return True
    integration = LightningIntegration(Sink(), {"track_gradients": True, "track_spans": True})
    integration.start()

import numpy, torch
from torch.utils.data import DataLoader, TensorDataset
told, caught = {}, []
warnings.simplefilter("always")
warnings.showwarning = lambda message, category, filename, lineno, *_: caught.append([str(message), category.__name__, filename, lineno])
pl = importlib.import_module(flavour)
callbacks = importlib.import_module(flavour + ".callbacks")
loggers = importlib.import_module(flavour + ".loggers")
signals = {number: str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
pl.seed_everything(5, workers=True)

class Data(pl.LightningDataModule):
    def __init__(self, rows=32):
        super().__init__(); self.save_hyperparameters()
    def train_dataloader(self): return DataLoader(TensorDataset(torch.randn(32, 8), torch.randn(32, 1)), batch_size=5, shuffle=True)
    def val_dataloader(self): return DataLoader(TensorDataset(torch.randn(12, 8), torch.randn(12, 1)), batch_size=5)

class Module(pl.LightningModule):
    def __init__(self, lr=0.1, width=16):
        super().__init__(); self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(8, width), torch.nn.Dropout(0.4), torch.nn.ReLU(), torch.nn.Linear(width, 1))
    def training_step(self, batch, batch_idx):
        loss = torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("loss", loss, on_step=True, on_epoch=True, prog_bar=True, enable_graph=True)
        self.log("noise", random.random() + numpy.random.rand())
        return loss
    def validation_step(self, batch, batch_idx):
        self.log("val", torch.nn.functional.mse_loss(self.net(batch[0]), batch[1]))
    def test_step(self, batch, batch_idx): self.log("test", self.net(batch[0]).mean())
    def on_train_start(self):
        self.logger.log_hyperparams({"more": 1})
    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), self.hparams.lr)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1), "interval": "epoch"}}

def trained(logger):
    checkpoint = callbacks.ModelCheckpoint(monitor="val", save_top_k=2, save_last=True, filename="{epoch}-{val:.3f}")
    stopping = callbacks.EarlyStopping("val", patience=3)
    trainer = pl.Trainer(max_epochs=4, logger=logger, accelerator="cpu", callbacks=[checkpoint, stopping], gradient_clip_val=0.5,
                         accumulate_grad_batches=2, log_every_n_steps=2, default_root_dir=os.getcwd(), enable_progress_bar=False)
    module, data = Module(), Data()
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=None, dataloaders=data.val_dataloader(), ckpt_path="best", verbose=False)
    return trainer, module, checkpoint

for logger in (True, loggers.CSVLogger("csv")):
    trainer, module, checkpoint = trained(logger)
    place = f"{type(logger).__name__}/"
    told[place + "weights"] = hashlib.sha256(b"".join(value.numpy().tobytes() for value in module.state_dict().values())).hexdigest()
    told[place + "callbacks"] = [type(each).__name__ for each in trainer.callbacks]
    told[place + "loggers"] = [type(each).__name__ for each in trainer.loggers]
    told[place + "root"] = [trainer.default_root_dir, trainer.log_dir]
    told[place + "best"] = [checkpoint.best_model_path, repr(checkpoint.best_model_score), checkpoint.dirpath, checkpoint.last_model_path]
    told[place + "metrics"] = [repr({name: value.item() for name, value in values.items()}) for values in (trainer.callback_metrics, trainer.logged_metrics)]
    told[place + "module"] = sorted(vars(module))
    told[place + "trainer"] = sorted(vars(trainer))
    told[place + "results"] = {name: sorted(vars(loop)) for name, loop in (("fit", trainer.fit_loop), ("epoch", trainer.fit_loop.epoch_loop))}
told["random"] = [hashlib.sha256(repr(state).encode()).hexdigest() for state in
                  (random.getstate(), [str(part) for part in numpy.random.get_state()], torch.get_rng_state().tolist())]
told["signals"] = [signals, {number: str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}]
told["threads"] = sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("tracelet-"))
told["grad mode"] = [torch.is_grad_enabled(), str(torch.get_default_dtype()), torch.is_anomaly_enabled()]
told["warnings"] = caught
if tracked:
    integration.stop()
    assert sum(isinstance(item, tuple) for item in kept) > 50
if recorded:
    tracelet.stop_logging()
    run = tracelet.open_store("../store").run("whole")
    assert len(run.series("loss_step")) == len(run.series("tracelet/grad_norm")) == 32 and run.spans() and run.series("system/cpu_percent")
told["files"] = {}
for folder, _, names in os.walk("."):
    for name in names:
        path = os.path.join(folder, name)
        with open(path, "rb") as file: content = file.read()
        event_file = path.find(".tfevents")  # TensorBoard's own, if it is installed: named and filled with times and process ids
        if event_file > 0: path, content = path[:event_file], b""
        told["files"][path] = hashlib.sha256(content).hexdigest()
told["files"] = dict(sorted(told["files"].items()))
print("TOLD" + json.dumps(told))
"""  # noqa: E501


def told(folder: Path, flavour: str, tracked: str) -> dict[str, Any]:
    work = folder / "work"
    work.mkdir()
    done = subprocess.run(
        [lightning_python(), "-c", SCRIPT, flavour, tracked], capture_output=True, text=True, timeout=250, cwd=work,
        # The hash seed is given because Lightning 2.1 writes the columns of its CSV files in the order of a set.
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder), "PYTHONHASHSEED": "0"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shutil.rmtree(work)
    found = json.loads(done.stdout.partition("TOLD")[2])
    assert isinstance(found, dict)
    return {**found, "stdout": done.stdout.partition("TOLD")[0], "stderr": done.stderr}


@pytest.mark.slow
@pytest.mark.parametrize("flavour", ["lightning.pytorch", "pytorch_lightning"])
def test_training_is_bit_for_bit_the_same(flavour: str, tmp_path: Path) -> None:
    """Weights, checkpoints, files, random states, warnings, output, callbacks, loggers, metrics: no difference."""
    without = told(tmp_path, flavour, "alone")
    assert any(path.endswith(".ckpt") for path in without["files"])
    for how in ("tracked", "recorded"):
        with_ = told(tmp_path, flavour, how)
        assert without.keys() == with_.keys()
        for what, expected in without.items():
            assert with_[what] == expected, (how, what)
