#!/usr/bin/env bash
# wandb 0.31.0, offline run, rows of the same eight keys logged one after the other.
# Guess: a row's items are in the file in the order of the dictionary, and a row is one record.
# Seen: the items of nearly every row are in another order (a reader cannot take the second item for the second key), and
# each row is followed by two records of the summary, which repeat it: two thirds of the file's records.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install --quiet --disable-pip-version-check wandb==0.31.0
cat > program.py <<'PY'
import glob, os, struct, time
os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true")
import wandb
from wandb.proto import wandb_internal_pb2 as proto

KEYS = list("abcdefgh")
ROWS = 100
with wandb.init(project="p", settings=wandb.Settings(x_disable_stats=True)) as run:
    for row in range(ROWS):
        run.log({key: row + place / 8 for place, key in enumerate(KEYS)})


def records(data):
    at, parts = 7, []
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):
            record = proto.Record()
            record.ParseFromString(b"".join(parts))
            parts = []
            yield record


for _ in range(100):  # the file is complete a moment after the end of the run
    (path,) = glob.glob("wandb/offline-run-*/run-*.wandb")
    found = list(records(open(path, "rb").read()))
    kinds = [record.WhichOneof("record_type") for record in found]
    if "exit" in kinds:
        break
    time.sleep(0.1)
rows = [[item.key or item.nested_key[0] for item in record.history.item] for record in found if record.HasField("history")]
orders = {tuple(key for key in row if key in KEYS) for row in rows}
print(f"wandb {wandb.__version__}: {len(rows)} rows, {len(orders)} orders of their keys, {kinds.count('summary')} summary records")
assert len(rows) == ROWS and all(set(row) >= set(KEYS) for row in rows)
assert len(orders) > ROWS / 2, "the order of a row's items is stable now"
assert kinds.count("summary") >= 2 * ROWS - 1, "a row brings fewer summary records now"
PY
env/bin/python program.py
