"""The page that `tracelet show` prints about a run or one of its fits, section by section; empty ones are omitted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tracelet.cli.event_text import describe_event, notable, run_events
from tracelet.cli.fit_table import best_labels, fit_table
from tracelet.cli.formatting import ago, counted, date, duration, number, size, value, visible
from tracelet.cli.output import STATUS_STYLES, fit_to_width, print_block, shorten, supports_unicode, table
from tracelet.cli.page_lines import delivery_line, machine_lines
from tracelet.cli.plot import plot
from tracelet.cli.sparkline import sparkline
from tracelet.journal.records import Artifact, MetricSummary
from tracelet.store.artifacts import replaced_references
from tracelet.store.code_diff import changes_unknown
from tracelet.store.fits import Fit
from tracelet.store.run import Run

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SPARK_WIDTH = 24
"""Characters of a plot beside the numbers: the line fits into 100 columns."""
NAME_SHARE = 2
"""A metric's name takes at most half of the terminal's width: its summary is printed beside it."""
FRAMEWORK_SOURCES = ("trainer", "optimizer", "data", "model", "fabric")
"""Sources of parameters that frameworks add; they are many, so most are only shown with `--all`."""
USER = "user"
"""The source of parameters that the program gives to tracelet by name."""
NOTABLE_PARAMS = (
    "/class",
    "/lr",
    "max_epochs",
    "max_steps",
    "precision",
    "strategy",
    "batch_size",
    "/parameters",
    "devices",
)
"""Suffixes of the names that are shown nevertheless."""
NOTABLE_PACKAGES = ("torch", "lightning", "pytorch-lightning", "numpy", "tracelet")
MAX_EVENTS = 20
"""Lines without `--all`: a program may log an event at every step."""
MAX_TRACEBACK = 30
"""Lines; the end of a traceback is the most useful part, and the JSON has all of it."""


class RunPage:
    """Prints one run, or one fit of it."""

    def __init__(self, run: Run, target: Console, fit: Fit | None = None) -> None:
        self.run = run
        self.shown = fit or run
        self.target = target

    def print_all(self, everything: bool = False) -> None:
        """All sections."""
        self.head()
        self.traceback()
        self.fits()
        self.parameters(everything)
        self.metrics(everything)
        self.events(everything)
        self.files()
        self.deliveries()
        self.code()
        self.machine(everything)
        self.problems()

    def fits(self) -> None:
        """One line per fit, if the run has several."""
        fits = self.run.fits
        if len(fits) > 1:
            self._title("Fits")
            print_block(self.target, fit_table(self.target, fits))
            self._hint(f"one fit: tracelet show {self.run.id} --fit 1")

    def _title(self, text: str) -> None:
        self.target.print()
        self.target.print(text, style="bold")

    def _hint(self, text: str) -> None:
        self.target.print("  " + text, style="dim")

    def _pairs(self, pairs: Iterable[tuple[str, Any]], notes: Mapping[str, str] | None = None) -> None:
        """One line per pair; notes, by name, are a third column."""
        from rich.table import Table
        from rich.text import Text

        shown = Table.grid(padding=(0, 2))
        shown.add_column(style="dim", overflow="fold")
        shown.add_column(overflow="fold")
        shown.add_column(style="dim")
        for name, found in pairs:
            plain = found.rstrip() if isinstance(found, str) else found if isinstance(found, Text) else value(found)
            shown.add_row("  " + value(name), plain, *([notes.get(name, "")] if notes else []))
        print_block(self.target, shown)

    def head(self) -> None:
        """Name, status and reason, time and host."""
        from rich.text import Text

        info = self.run.info
        status = Text(value(info.status), STATUS_STYLES.get(info.status, ""))
        if info.reason:
            status.append(f": {visible(info.reason)}", "default")
        self.target.print(
            Text.assemble((value(info.name), "bold"), "  ", (value(info.id), "cyan"), f"  {value(info.project)}")
        )
        pairs: list[tuple[str, Any]] = [
            ("status", status),
            ("started", f"{date(info.started)} ({ago(info.started)})"),
            ("duration", duration(info.duration)),
        ]
        if info.command:
            pairs.append(("command", " ".join(info.command)))
        pairs.append(("folder", f"{info.host}:{info.folder}"))
        if info.world_size > 1:
            pairs.append(("processes", str(info.world_size)))
        if self.run.tags:
            pairs.append(
                ("tags", ", ".join(f"{value(name)}={value(text)}" for name, text in sorted(self.run.tags.items())))
            )
        self._pairs(pairs)

    def traceback(self) -> None:
        """Python's traceback if the run failed."""
        lines = self.run.status_record.traceback.rstrip().splitlines()
        if lines:
            self._title("Traceback")
            left_out = ["  ..."] if len(lines) > MAX_TRACEBACK else []
            self.target.print("\n".join([*left_out, *lines[-MAX_TRACEBACK:]]))

    def parameters(self, everything: bool = False) -> None:
        """Hyperparameters, the user's first; of those that frameworks add, only the notable ones."""
        params = self.shown.params
        if not params:
            return
        sources = self.shown.param_sources
        details = {name for name in params if sources.get(name) in FRAMEWORK_SOURCES}
        shown = [name for name in params if everything or name not in details or name.endswith(NOTABLE_PARAMS)]
        several = isinstance(self.shown, Run) and len(self.shown.fits) > 1
        self._title("Parameters that all fits have" if several else "Parameters")
        # What the program gives by name comes first, what a library has found next, what frameworks add last.
        ordered = sorted(shown, key=lambda name: (name in details, sources.get(name) != USER, name))
        self._pairs(((name, value(params[name])) for name in ordered), sources)
        if len(shown) < len(params):
            self._hint(f"... {len(params) - len(shown)} more; --all shows them")

    def metrics(self, everything: bool = False) -> None:
        """One line per metric: those that the program logged; with `everything`, or without any, the others too."""
        summaries = [self.shown.summary(name) for name in self.shown.metrics()]
        for title, automatic in (("Metrics", False), ("Recorded automatically", True)):
            chosen = [summary for summary in summaries if summary.automatic is automatic]
            if not chosen:
                continue
            if automatic and not everything and len(chosen) < len(summaries):
                self._hint(f"... {len(chosen)} recorded automatically; --all shows them")
                continue
            self._title(title)
            print_block(self.target, self._metric_table(chosen))

    def _metric_table(self, summaries: list[MetricSummary]) -> Table:
        cells = [
            {
                "  name": "  " + shorten(self.target, found.name, NAME_SHARE), "last": _amount(found.name, found.last),
                "min": _at(found.name, found.min, found.min_step), "max": _at(found.name, found.max, found.max_step),
                "points": str(found.count), "plot": self._spark(found.name, SPARK_WIDTH),
            }
            for found in summaries
        ]  # fmt: skip

        def build(columns: list[str]) -> Table:
            shown = table(*columns, right=("last", "min", "max", "points"))
            for row in cells:
                shown.add_row(*(row[column] for column in columns))
            return shown

        return fit_to_width(self.target, build, list(cells[0]), ["points", "plot", "min", "max"])

    def _spark(self, name: str, width: int) -> str:
        return sparkline(self.shown.chart(name).values, width, supports_unicode(self.target))

    def plots(self, names: list[str]) -> None:
        """The requested metrics, each as wide as the terminal."""
        for name in names:
            found = self.shown.summary(name)
            self.target.print(value(name), style="bold")
            width = max(20, min(self.target.width, 100) - 4)
            for line in plot(self.shown.chart(name), width, supports_unicode(self.target)):
                self.target.print("  " + line, overflow="crop")
            self._pairs([
                ("last", f"{number(found.last)} at step {found.last_step}"),
                ("min", f"{number(found.min)} at step {found.min_step}"),
                ("max", f"{number(found.max)} at step {found.max_step}"),
                ("points", str(found.count)),
            ])  # fmt: skip

    def events(self, everything: bool = False) -> None:
        """The latest notable events: fits, early stopping, events of the program; all events with `everything`."""
        found = run_events(self.run)
        if isinstance(self.shown, Fit):
            mine = {id(event) for event in self.shown.events}
            found = [one for one in found if id(one.event) in mine]
        shown = found if everything else notable(found)[-MAX_EVENTS:]
        if shown:
            self._title("Events")
            self._pairs((date(event.time / 1e6), prefix + describe_event(event)) for event, prefix in shown)
            if len(shown) < len(found):
                self._hint(f"... {len(found) - len(shown)} more; --all shows them")

    def files(self) -> None:
        """Checkpoints, the best one marked, and artifacts."""
        of_fit = isinstance(self.shown, Fit) and not self.shown.whole
        artifacts = self.shown.checkpoints if isinstance(self.shown, Fit) else self.run.artifacts
        checkpoints = [artifact for artifact in artifacts if artifact.kind == "checkpoint"]
        others = [] if of_fit else [artifact for artifact in artifacts if artifact.kind != "checkpoint"]
        if checkpoints:
            self._title("Checkpoints")
            gone = replaced_references(checkpoints, self.run.events("checkpoint_removed"))
            best = best_labels(self.run.fits)
            kept = [artifact for place, artifact in enumerate(checkpoints) if place not in gone]
            self._pairs((artifact.name, _checkpoint(artifact, best)) for artifact in kept)
            if len(kept) < len(checkpoints):
                self._hint(f"and {len(checkpoints) - len(kept)} replaced by later checkpoints")
        if others:
            self._title("Artifacts")
            self._pairs((artifact.name, f"{artifact.kind}, {size(artifact.size)}") for artifact in others)

    def deliveries(self) -> None:
        """For each backend: progress, URL, and error."""
        found = self.run.deliveries
        if found:
            self._title("Deliveries")
            self._pairs((name, delivery_line(delivery)) for name, delivery in sorted(found.items()))

    def code(self) -> None:
        """Commit, branch, uncommitted changes."""
        git = self.run.git
        if not git:
            return
        self._title("Code")
        known = "uncommitted changes" if git.get("dirty") else "clean"
        changes = "unknown: git could not compare it with the commit" if changes_unknown(git) else known
        if git.get("untracked_count"):
            changes += ", " + counted(git["untracked_count"], "untracked file")
        pairs = [("commit", f"{git.get('commit') or 'none'}  {git.get('subject') or ''}")]
        pairs += [("branch", git.get("branch") or "none"), ("tree", changes)]
        self._pairs([*pairs, *(("remote " + name, url) for name, url in (git.get("remotes") or {}).items())])

    def machine(self, everything: bool = False) -> None:
        """Hardware, Python and packages."""
        environment = self.run.environment
        if not environment:
            return
        self._title("Environment")
        packages = environment.get("packages") or {}
        listed = sorted(packages) if everything else [name for name in NOTABLE_PACKAGES if name in packages]
        self._pairs(
            [*machine_lines(environment), ("packages", ", ".join(f"{name} {packages[name]}" for name in listed))]
        )

    def problems(self) -> None:
        """Problems while recording or reading the run."""
        if self.run.problems:
            self._title("Problems")
            for sentence in self.run.problems:
                self.target.print("  " + sentence, style="yellow")


def _amount(name: str, found: float) -> str:
    """A value; bytes with their unit, as the names of the system metrics say."""
    if name.endswith(("bytes", "bytes_per_second")) and abs(found) < float("inf"):
        return ("-" if found < 0 else "") + size(abs(found)) + ("/s" if name.endswith("second") else "")
    return number(found)


def _at(name: str, extreme: float, step: int) -> str:
    return number(extreme) if extreme != extreme else f"{_amount(name, extreme)} @{step}"


def _checkpoint(artifact: Artifact, best: Mapping[str, str]) -> str:
    found = artifact.metadata
    parts = [f"step {found['step']}"] if found.get("step") is not None else []
    parts.append(size(artifact.size))
    if found.get("score") is not None:
        parts.append(f"{found.get('monitor')} {value(found['score'])}")
    if artifact.path in best:
        parts.append(best[artifact.path])
    return ", ".join([*parts, artifact.path])
