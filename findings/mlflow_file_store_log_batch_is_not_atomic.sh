#!/usr/bin/env bash
# MLflow's file store applies log_batch in part when one entry fails, and keeps no key by which a retry is recognised:
#
# 1. Metrics `val` and `val/loss` are both valid, and a database takes both. In a file store `val` is a file, so `val/loss`
#    fails with INTERNAL_ERROR ("Not a directory"), the code of an outage, which clients retry.
# 2. The metrics before the failing one are stored already. A retry of the same call stores them a second time, while a
#    database keeps a point with equal key, step, timestamp and value once.
#
# Seen with mlflow-skinny 3.17.2. Exits 1 if either has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet mlflow-skinny==3.17.2
cat > program.py <<'PYTHON'
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

client = MlflowClient("store")
run = client.create_run(client.create_experiment("e")).info.run_id
points = [Metric("val", float(step), 1000 + step, step) for step in range(3)] + [Metric("val/loss", 0.5, 1000, 0)]
codes = []
for _ in range(2):
    try:
        client.log_batch(run, metrics=points)
        codes.append("")
    except MlflowException as error:
        codes.append(error.error_code)
stored = sorted(point.step for point in client.get_metric_history(run, "val"))
print(f"codes of two equal calls: {codes}; steps stored of val: {stored}")
assert codes == ["INTERNAL_ERROR"] * 2, "names that begin alike are no longer an internal error"
assert stored == [0, 0, 1, 1, 2, 2], "a failed log_batch no longer stores a part, or a retry no longer doubles it"
PYTHON
MLFLOW_ALLOW_FILE_STORE=true MLFLOW_DISABLE_TELEMETRY=true env/bin/python program.py
