"""Settings of the backend `wandb`. From the docstrings here, documentation and help are generated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WandbOptions:
    """Settings of the backend `wandb`."""

    url: str = ""
    """URL of the server. If empty, WANDB_BASE_URL, otherwise `https://api.wandb.ai`."""
    api_key: str = ""
    """API key. If empty, WANDB_API_KEY or the key stored by `wandb login`. Never stored."""
    entity: str = ""
    """Team or user that owns the run. If empty, the default entity of the API key."""
    mode: str = "online"
    """`online`, `offline` (writes a folder for `wandb sync`) or `shared`."""
    group: str = ""
    """Group of the run."""
    job_type: str = ""
    """Job type of the run, e.g. `train` or `eval`."""
    notes: str = ""
    """Notes: a longer description of the run."""
    step_axis: str = "trainer/global_step"
    """Name of the metric that holds the steps. The default is the one of Lightning's WandbLogger."""
    dir: str = ""
    """Folder for the SDK's files. If empty, the folder of the store."""
    timeout: float = 60.0
    """Timeout in seconds for starting, writing and finishing the run."""
