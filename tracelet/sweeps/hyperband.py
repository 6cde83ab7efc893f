"""wandb's hyperband rule: which trials stop early because their metric is worse than that of the others. Pure.

A band is a number of logged values. At each band the best 1/eta of the trials that have come so far continue. The rule
is that of `sweeps` 0.3.0, but for NaN: there a NaN counts as not logged, so that a trial that only logs NaN never
reaches a band and is never stopped. Here it is the worst value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from tracelet.sweeps.config_checks import Checks
from tracelet.sweeps.config_document import Place

KEYS = ("type", "min_iter", "max_iter", "s", "eta", "strict")
MOST_BANDS = 100
"""With `min_iter`, as in wandb: the last band is far beyond what anybody logs."""


@dataclass(frozen=True)
class Hyperband:
    """`early_terminate` of a configuration."""

    bands: tuple[int, ...]
    """Numbers of logged values, ascending."""
    eta: float
    strict: bool

    def thresholds(self, at_bands: Iterable[Mapping[int, float]]) -> dict[int, float]:
        """The worst cost with which a trial continues at each band, from the costs of all trials at the bands."""
        known = list(at_bands)
        found = {}
        for band in self.bands:
            costs = sorted(costs[band] for costs in known if band in costs)
            if not costs:
                break
            found[band] = costs[int(1 / self.eta * len(costs))]
        return found

    def reason(self, costs: Sequence[float], thresholds: Mapping[int, float]) -> tuple[int, float, float] | None:
        """(band, cost, threshold) if a running trial with these costs is to stop, otherwise None."""
        reached = [band for band in self.bands if band <= len(costs)]
        if not reached or reached[-1] not in thresholds:
            return None
        band = reached[-1]
        cost = costs[band - 1] if self.strict else min(costs)
        return (band, cost, thresholds[band]) if cost > thresholds[band] else None


def read_hyperband(checks: Checks, place: Place, given: Any) -> Hyperband | None:
    """The rule, with wandb's defaults: `eta` is 3, and `strict` is true."""
    table = checks.mapping(place, given, "{type: hyperband, min_iter: 3}")
    before = len(checks.problems)
    checks.known_keys(place, table, KEYS, "`early_terminate`")
    if "type" not in table:
        checks.problem(place, "`early_terminate` needs `type: hyperband`")
    else:
        checks.choice((*place, "type"), table["type"], ("hyperband",))
    eta = checks.number((*place, "eta"), table.get("eta", 3), 3)
    if eta <= 1:
        checks.problem((*place, "eta"), f"`eta` must be above 1, not {eta}")
    strict = table.get("strict", True)
    if not isinstance(strict, bool):
        checks.problem((*place, "strict"), f"`strict` must be true or false, not {strict!r}")
    bands = _bands(checks, place, table, eta) if len(checks.problems) == before else ()
    return Hyperband(bands, eta, strict) if len(checks.problems) == before else None


def _bands(checks: Checks, place: Place, table: Mapping[str, Any], eta: float) -> tuple[int, ...]:
    if "max_iter" in table:
        most = checks.whole((*place, "max_iter"), table["max_iter"], 1)
        if "s" not in table:
            checks.problem(place, "`max_iter` needs `s`, the number of bands. Or give `min_iter` instead")
            return ()
        count = checks.number((*place, "s"), table["s"])
        bands = tuple(reversed([int(band) for band in _divided(most, eta, int(count)) if band >= 1]))
        if not bands:
            checks.problem(place, f"max_iter {most}, s {count} and eta {eta} make no band. Increase `max_iter` or `s`")
        return bands
    if "min_iter" not in table:
        checks.problem(place, "`early_terminate` needs `min_iter`, or `max_iter` and `s`")
        return ()
    first = checks.whole((*place, "min_iter"), table["min_iter"], 1)
    return tuple(int(band) for band in _multiplied(first, eta, MOST_BANDS) if band < 2**63)


# One by one, as in `sweeps`, so that the roundings are the same.


def _divided(most: float, eta: float, count: int) -> list[float]:
    return list(accumulate(range(count), lambda band, _: band / eta, initial=most))[1:]


def _multiplied(first: float, eta: float, count: int) -> list[float]:
    return list(accumulate(range(count - 1), lambda band, _: band * eta, initial=float(first)))
