#!/usr/bin/env bash
# PyTorch's SummaryWriter.add_scalar changes what it is given in two cases, without a warning:
#
# 1. A bfloat16 tensor is converted to float16 before it is written, although the event file holds float32. float16 has
#    5 bits of exponent where bfloat16 has 8: a finite 70144 is stored as infinity, and 1e-8 as 0. Losses and gradient
#    norms of bfloat16 trainings look as if they had overflowed or vanished. (tensorboardX refuses bfloat16 instead.)
# 2. A tensor on the meta device, which has no value at all, is stored as a random number. It is drawn from numpy's
#    global generator, so writing it also changes every random number that the program draws afterwards.
#
# Seen with torch 2.13.0 and tensorboard 2.21.0. Exits 1 if either has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet torch==2.13.0 tensorboard==2.21.0 'setuptools<82'
cat > program.py <<'PYTHON'
import numpy
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

numpy.random.seed(0)
expected = numpy.random.rand()
numpy.random.seed(0)
with SummaryWriter("events") as writer:
    for step, value in enumerate((70000.0, 1e-8, 0.5)):
        writer.add_scalar("bfloat16", torch.tensor(value, dtype=torch.bfloat16), step)
    writer.add_scalar("meta", torch.empty((), device="meta"), 0)
drawn = numpy.random.rand()

events = EventAccumulator("events")
events.Reload()
stored = [event.value for event in events.Scalars("bfloat16")]
given = [torch.tensor(value, dtype=torch.bfloat16).item() for value in (70000.0, 1e-8, 0.5)]
meta = [event.value for event in events.Scalars("meta")]
print(f"bfloat16 given {given}, stored {stored}")
print(f"meta tensor stored as {meta}; numpy.random.rand() afterwards: {drawn}, without the call: {expected}")
assert stored == [float("inf"), 0.0, 0.5], "bfloat16 scalars are no longer squeezed through float16"
assert len(meta) == 1 and drawn != expected, "meta tensors are no longer stored as random numbers"
PYTHON
env/bin/python -W ignore program.py
