"""What a step of a plain PyTorch loop takes with tracelet, divided by what it takes without, loops by turns.

A step of about 2 ms with everything that is hooked: a loader's batch, `zero_grad`, the backward pass, clipping, the
optimizer, a scheduler; an evaluation after each loop. Everything that tracelet records by default is switched on. The
loops are short and take turns in one process, because a shared machine's speed swings by more than the budget from one
minute to the next; `stop_logging()` puts everything back. As in `step_time.py`, every loop of either kind trains for a
second before its clock runs: what tracelet reads once (code, environment) is behind it then, and neither kind has
slept, because a processor that has slept is slower for the next second.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import statistics
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import measure
from measure import Cost

import tracelet

if TYPE_CHECKING:
    import torch

WARM_UP = 1.0
"""Seconds of training before the clock runs, of either kind."""
BUDGET = "budget 1.03"
SIZE = 192
"""Edge of the square matrices that are multiplied to make a step longer."""


def busy(matrix: torch.Tensor, result: torch.Tensor, times: int) -> None:
    """Work of a fixed amount, which lets go of the interpreter as real kernels do and allocates nothing."""
    import torch

    for _ in range(times):
        torch.mm(matrix, matrix, out=result)


def train(steps: int, work: int) -> Cost:
    """What a step of one loop in this process costs."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(1)
    net = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.999)
    batches = DataLoader(TensorDataset(torch.randn(64 * 16, 32)), 16)
    matrix, result = torch.ones(SIZE, SIZE) / SIZE, torch.empty(SIZE, SIZE)
    walls: list[float] = []
    processors: list[float] = []
    endless = itertools.chain.from_iterable(itertools.repeat(batches))
    begin = time.perf_counter() + WARM_UP
    for (inputs,) in endless:
        now = time.perf_counter()
        if now > begin:
            walls.append(now)
            processors.append(time.process_time())
        if len(walls) > steps:
            break
        optimizer.zero_grad()
        busy(matrix, result, work)
        net(inputs).square().mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
    return Cost.of(walls, processors)


def turn_of(recorded: bool, steps: int, work: int, store: Path) -> Cost:
    """What a step costs in one more loop."""
    gc.collect()
    if not recorded:
        return train(steps, work)
    with tracelet.start_logging("plain-step", config={"delivery": "off", "quiet": True, "dir": str(store)}):
        return train(steps, work)


def calibrate(milliseconds: float) -> int:
    """How many multiplications make a step that long here."""
    bare = train(50, 0).median
    begin = train(50, 10).median
    return max(0, round((milliseconds / 1e3 - bare) / max((begin - bare) / 10, 1e-6)))


def main(quick: bool, store: Path) -> None:
    """The median over pairs of loops."""
    rounds, steps = (9, 100) if quick else (41, 200)
    work = calibrate(2.0)
    turn_of(True, steps, work, store)  # imports what it needs
    costs: dict[bool, list[Cost]] = {False: [], True: []}
    for _ in range(rounds):
        for recorded in random.sample((False, True), 2):
            costs[recorded].append(turn_of(recorded, steps, work, store))
    print(f"{steps} steps a loop, {rounds} loops of each kind by turns")
    for name, clock in (("wall", 0), ("processor", 1), ("median step", 2)):
        bare, ours = ([cost[clock] for cost in costs[recorded]] for recorded in (False, True))
        measure.row(f"{name}: without tracelet", f"{statistics.median(bare) * 1e3:.3f} ms")
        extra = statistics.median(one - other for one, other in zip(ours, bare, strict=True))
        figure = f"{measure.ratio(ours, bare):.3f}  {extra * 1e6:+.0f} us"
        measure.row(f"{name}: with tracelet / without, median of pairs", figure, BUDGET)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    chosen = measure.options(__doc__)
    with measure.folder() as made:
        os.chdir(made)
        main(chosen.quick, made / "store")
