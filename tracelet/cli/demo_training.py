"""A small real training: a network learns the digits dataset of scikit-learn. `tracelet demo` runs this file.

tracelet needs only the first line of `main`. `experiment.folder` only tells Lightning where to save checkpoints.
"""

import lightning
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import tracelet


class Digits(lightning.LightningModule):
    """64 pixels in, one of ten digits out."""

    def __init__(self, lr: float = 0.005, hidden: int = 64) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.net = torch.nn.Sequential(torch.nn.Linear(64, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10))

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """One step on 64 images."""
        images, digits = batch
        loss = cross_entropy(self.net(images), digits)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor]) -> None:
        """Loss and accuracy."""
        images, digits = batch
        logits = self.net(images)
        self.log("val/loss", cross_entropy(logits, digits))
        self.log("val/accuracy", (logits.argmax(dim=1) == digits).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def main() -> None:
    """Train for five epochs, about a second."""
    experiment = tracelet.start_logging("digits", project="demo")  # the only line for tracelet
    lightning.seed_everything(1)
    images, digits = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digits))
    train, validate = torch.utils.data.random_split(data, [1500, len(data) - 1500])
    trainer = lightning.Trainer(
        max_epochs=5, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=experiment.folder
    )
    trainer.fit(Digits(), DataLoader(train, batch_size=64, shuffle=True), DataLoader(validate, batch_size=297))


if __name__ == "__main__":
    main()
