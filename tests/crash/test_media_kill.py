"""SIGKILL at random moments while media are logged: whatever record is there has its bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tracelet

KILLS = 12

CHILD = """
import sys
import numpy as np
import tracelet

seed = int(sys.argv[1])
draw = np.random.default_rng(seed)
run = tracelet.start_logging("victim", config=dict(
    flush_interval=0.02, quiet=True, delivery="off", track_system=False, track_git=False, track_env=False))
print("ready", flush=True)
step = 0
while True:
    height, width = draw.integers(1, 60, 2)
    pixels = np.random.default_rng([seed, step]).integers(0, 256, (height, width, 3), dtype=np.uint8)
    run.log_image("image", pixels, step, layout="HWC", masks=pixels[:, :, 0])
    run.log_histogram("histogram", pixels, step)
    run.log_text("text", "word " * int(draw.integers(0, 2000)), step)
    run.log_table("table", {"n": list(range(step)), "image": [tracelet.Image(pixels, layout="HWC")] * step}, step)
    run.log_audio("audio", pixels.ravel(), step, rate=8000)
    run.flush() if step % 7 == 6 else None
    step += 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(KILLS))
def test_whatever_record_is_there_has_its_bytes(seed: int, tmp_path: Path) -> None:
    """A killed run opens, every content has the digest that its record names, and pixels are those that were logged."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(seed)], cwd=tmp_path, stdout=subprocess.PIPE,
        env={**os.environ, "TRACELET_DIR": str(tmp_path)},
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(random.Random(seed).uniform(0.3, 1.5))
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    run = tracelet.open_store(tmp_path).run("latest")
    for item in run.media():
        assert len(item.bytes()) == item.record.size  # raises if the bytes are missing or damaged
        if item.kind == "table":
            cells = item.cells("image")
            assert len(cells) == item.step
            assert all(cell is not None and cell.bytes() for cell in cells)
        if item.kind == "image":
            draw = np.random.default_rng([seed, item.step])
            height, width = item.array().shape[:2]
            pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
            assert np.array_equal(item.array(), pixels)
            assert np.array_equal(item.mask(), pixels[:, :, 0])
