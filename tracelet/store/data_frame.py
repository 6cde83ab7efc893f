"""The points of series as a pandas data frame. Used by `Run.to_dataframe()`; pandas is imported here alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tracelet.store.series import Series

if TYPE_CHECKING:
    import pandas

COLUMNS = ["metric", "step", "value", "time", "epoch", "stage", "fit"]


def data_frame(found: Iterable[Series]) -> pandas.DataFrame:
    """One row for each point; without points the columns alone."""
    import pandas

    frames = [
        pandas.DataFrame({
            "metric": series.name, "step": series.steps, "value": series.values, "time": series.times,
            "epoch": series.epochs, "stage": series.stages, "fit": series.fits,
        })
        for series in found
    ]  # fmt: skip
    return pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame(columns=COLUMNS)
