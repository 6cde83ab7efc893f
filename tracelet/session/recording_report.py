"""What a run has found in its process: for `tracelet run --explain`, and for runs that recorded no metric.

Made by the session when the run ends, on the thread that ends it: the state of the patches before they are reverted,
the contents of the run after it is sealed. Printed to stderr; never raises into the program.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version

from tracelet.integrations.base import Integration
from tracelet.journal.records import Params
from tracelet.store.run import Run

STANDARD = "part of Python"
MAX_MISSING = 3
"""Places that this version of a library lacks, by name."""
FEW = 0.1
"""Share of an integration's patches below which a package is not what it is about: Lightning's, of torch."""
HINT = "tracelet.log({'loss': loss}, step=step) records one; `tracelet run --explain` shows what was looked for."


@dataclass(frozen=True)
class LibraryState:
    """One integration at the end of a run: its library, and what of it was patched."""

    name: str
    package: str
    version: str
    """Empty if the program has not imported the library."""
    patched: int
    places: int
    missing: Sequence[str]

    def line(self) -> str:
        """One line for a person."""
        if not self.version:
            return f"{self.name:<15} not imported"
        found = f"{self.name:<15} {self.package} {self.version}: {self.patched} of {self.places} places patched"
        if not self.missing:
            return found
        more = f" and {len(self.missing) - MAX_MISSING} more" if len(self.missing) > MAX_MISSING else ""
        return f"{found}; not in this version: {', '.join(self.missing[:MAX_MISSING])}{more}"


def library_states(integrations: Iterable[Integration]) -> list[LibraryState]:
    """One entry per integration. Call it before the patches are reverted."""
    providers = packages_distributions()
    states = []
    for integration in integrations:
        patches = _own(integration.patch_states())
        seen = [(module, target, state) for module, target, state in patches if state != "waiting"]
        package = next((module.partition(".")[0] for module, _, _ in seen), "")
        states.append(
            LibraryState(
                integration.name, package, _version(package, providers) if package else "",
                sum(state == "patched" for _, _, state in seen), len(seen),
                [f"{module}.{target}" for module, target, state in seen if state == "missing"],
            )
        )  # fmt: skip
    return states


def _own(patches: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Without the few places of another library that an integration patches as well."""
    packages = Counter(module.partition(".")[0] for module, _, _ in patches)
    return [patch for patch in patches if packages[patch[0].partition(".")[0]] >= FEW * len(patches)]


def _version(package: str, providers: dict[str, list[str]] | object) -> str:
    names = providers.get(package, []) if isinstance(providers, dict) else []
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return STANDARD if package in sys.stdlib_module_names else "without a version"


def explanation(run: Run, states: Sequence[LibraryState]) -> str:
    """Library by library what was found and patched, then what the run contains."""
    lines = [f"tracelet: what was found and recorded in {run.info.name!r} ({run.id})"]
    lines += [f"  {state.line()}" for state in sorted(states, key=lambda state: not state.version)]
    return "\n".join([*lines, *(f"  recorded: {line}" for line in contents(run))])


def report(text: str) -> None:
    """Print it where the other lines about the run are."""
    print(text, file=sys.stderr)


def contents(run: Run) -> list[str]:
    """What the run contains, by kind."""
    summaries = [summary for view in run.views for summary in view.metrics.values()]
    own = [summary for summary in summaries if not summary.automatic]
    points = sum(summary.count for summary in own)
    sources: Counter[str] = Counter()
    for view in run.views:
        for record in view.records(Params):
            sources.update({record.source: len(record.values)})
    spans = Counter(span.name for span in run.spans())
    kinds = Counter(artifact.kind for artifact in run.artifacts)
    return [
        f"{len(own)} metrics of the program ({points} points), {len(summaries) - len(own)} by tracelet itself",
        f"parameters: {_listed(sources) or 'none'}",
        f"spans: {_listed(spans) or 'none'}",
        f"artifacts: {_listed(kinds) or 'none'}",
    ]


def no_metrics(run: Run, states: Sequence[LibraryState]) -> str:
    """For a run without a metric of the program: what was seen in its process, and what to type."""
    libraries = [f"{state.package} {state.version}" for state in states if state.version and state.version != STANDARD]
    steps = len(run.spans("optimizer_update"))
    seen = (f"; {steps} steps of optimizers" if steps else "") + (", no loop of it" if not steps and libraries else "")
    return (
        f"tracelet: no metric was recorded in {run.info.name!r}. Seen in this process: "
        f"{', '.join(libraries) or 'no library that tracelet records'}{seen}. {HINT}"
    )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
