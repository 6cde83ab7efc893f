"""Real trainings for the dashboard's tests: python tests/e2e/ui/trainings.py

A sweep of three small Lightning trainings, one that fails, and one with hostile texts everywhere.
"""

from __future__ import annotations

from pathlib import Path

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

import tracelet

MARKUP = '<img src=x onerror="window.hacked=1">'
SCRIPT = "<script>window.hacked=1</script>"


class Wave(lightning.LightningModule):
    """Learns a sine."""

    def __init__(self, lr: float, hidden: int, fail_at: int = -1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(1, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1))
        self.lr, self.fail_at = lr, fail_at

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """One step."""
        loss = torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("train/loss", loss)
        if self.global_step == self.fail_at:
            raise RuntimeError("the loss went astray")
        return loss

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        """One step of validation."""
        self.log("val/loss", torch.nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def fit(lr: float, hidden: int, fail_at: int = -1) -> None:
    """Train for a few epochs."""
    torch.manual_seed(0)
    x = torch.rand(512, 1) * 6
    loader = DataLoader(TensorDataset(x, torch.sin(x)), batch_size=32)
    trainer = lightning.Trainer(
        max_epochs=6, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.fit(Wave(lr, hidden, fail_at), loader, loader)


def sweep() -> None:
    """Three learning rates."""
    for place, (lr, hidden) in enumerate(((0.001, 16), (0.01, 32), (0.05, 64))):
        with tracelet.start_logging(f"wave-{place}", project="waves", tags={"sweep": "lr"}):
            tracelet.define_metric("val/loss", goal="min")
            fit(lr, hidden)


def failing() -> None:
    """One that raises."""
    try:
        with tracelet.start_logging("astray", project="waves"):
            fit(0.5, 8, fail_at=20)
    except RuntimeError:
        pass


def hostile() -> None:
    """Markup and script in every text that a user can give."""
    folder = Path("hostile")
    folder.mkdir(exist_ok=True)
    page = folder / "page.html"
    page.write_text(SCRIPT, encoding="utf-8")
    with tracelet.start_logging(MARKUP, project=SCRIPT, tags={MARKUP: SCRIPT}, params={MARKUP: SCRIPT}) as experiment:
        for step in range(20):
            experiment.log_metric(MARKUP, float(step), step)
            experiment.log_metric("odd/values", [1.0, float("nan"), float("inf"), 2.0][step % 4], step)
        experiment.log_artifact(page, name=MARKUP)
        with tracelet.span(MARKUP):
            pass


if __name__ == "__main__":
    sweep()
    failing()
    hostile()
