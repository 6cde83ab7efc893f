"""The page that `tracelet show RUN:2` prints: the sections about one fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracelet.cli.formatting import ago, counted, date, duration, value, visible
from tracelet.cli.output import STATUS_STYLES
from tracelet.cli.run_page import RunPage
from tracelet.store.fits import Fit
from tracelet.store.run import Run

if TYPE_CHECKING:
    from rich.console import Console


class FitPage(RunPage):
    """Prints one fit of a run."""

    def __init__(self, run: Run, fit: Fit, target: Console) -> None:
        super().__init__(run, target, fit)
        self._fit = fit

    def print_all(self, everything: bool = False) -> None:
        """The sections that a fit has."""
        self.head()
        self.parameters(everything)
        self.metrics()
        self.events(everything)
        self.files()

    def head(self) -> None:
        """The run's name and the fit's number, status and reason, time and evaluations."""
        from rich.text import Text

        fit = self._fit
        heading = (value(self.run.info.name), "bold"), "  ", (value(fit.name), "cyan"), f"  fit {fit.number}"
        self.target.print(Text.assemble(*heading))
        status = Text(value(fit.status), STATUS_STYLES.get(fit.status, ""))
        status.append(f": {visible(fit.reason)}" if fit.reason else "", "default")
        pairs: list[tuple[str, Any]] = [
            ("status", status),
            ("started", f"{date(fit.started)} ({ago(fit.started)})"),
            ("duration", duration(fit.duration)),
        ]
        trained = [(fit.ending[noun], noun) for noun in ("epochs", "steps") if isinstance(fit.ending.get(noun), int)]
        if trained:
            pairs.append(("trained", ", ".join(counted(count, noun.removesuffix("s")) for count, noun in trained)))
        if fit.evaluations:
            pairs.append(("evaluations", ", ".join(value(found.get("kind")) for found in fit.evaluations)))
        self._pairs(pairs)
