#!/usr/bin/env bash
# wandb 0.31.0: `wandb sync A B`, where A and B are offline folders of one run (the run was killed and resumed) and A ends
# within a record, as a SIGKILL leaves it. Behaviour: A is sent up to its last whole record, an ERROR line is printed, B is
# skipped without a word, and the exit status is 0. So the points of every later folder are missing on the server, and
# neither the exit status nor the output says that B was not sent. A without its last, incomplete record: both are sent.
# Output seen: 'ERROR Failed to sync all data from "A": the file ends with an incomplete record. ...', exit status 0,
# 20 of 30 rows on the server; 30 of 30 after the incomplete record is removed.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check wandb==0.31.0
export HOME=$PWD WANDB_API_KEY=$(printf 'k%.0s' {1..40}) WANDB_ERROR_REPORTING=false WANDB_SILENT=true

cat > record.py <<'PY'
import sys, wandb
first, last = int(sys.argv[1]), int(sys.argv[2])
run = wandb.init(id="abc", project="p", mode="offline", resume="allow", dir=".")
for step in range(first, last):
    run.log({"loss": step}, step=step)
run.finish()
PY

cat > server.py <<'PY'  # keeps the history rows that `wandb sync` sends
import gzip, json, pathlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
rows = []
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
        question = json.loads(body)
        answer = {}
        if self.path.endswith("/graphql"):
            entity = {"id": "e", "name": "tester"}
            project = {"id": "p", "internalId": "1", "name": "p", "entity": entity}
            bucket = {"id": "i", "name": "abc", "displayName": "abc", "description": "", "summaryMetrics": "{}", "logLineCount": 0,
                      "historyLineCount": len(rows), "eventsLineCount": 0, "eventsTail": "[]", "historyTail": json.dumps(rows[-1:]),
                      "config": "{}", "tags": [], "notes": "", "wandbConfig": '{"t": 1}', "project": project, "sweepName": None}
            query = question["query"]
            if "RunResumeStatus" in query:
                answer = {"model": {**project, "bucket": bucket if rows else None}}
            elif "upsertBucket" in query:
                answer = {"upsertBucket": {"bucket": bucket, "inserted": not rows}}
            elif "serverInfo" in query:
                answer = {"serverInfo": {"features": [], "cliVersionInfo": {"max_cli_version": "1.0"}}}
            elif "viewer" in query:
                answer = {"viewer": {"id": "u", "entity": "tester", "username": "tester", "email": "", "flags": "{}", "teams": {"edges": []}}}
            elif "createRunFiles" in query:
                names = question["variables"]["files"]
                answer = {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": [{"name": n, "uploadUrl": URL + "/" + n} for n in names]}}
            answer = {"data": answer}
        elif self.path.endswith("/file_stream"):
            part = (question.get("files") or {}).get("wandb-history.jsonl")
            if part:
                rows[part["offset"]:] = part["content"]
                pathlib.Path("rows").write_text(str(len(rows)))
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_PUT(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *words): pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
URL = f"http://127.0.0.1:{server.server_port}"
pathlib.Path("url").write_text(URL)
server.serve_forever()
PY

venv/bin/python record.py 0 20
sleep 1.1  # folders are named by the second
venv/bin/python record.py 20 30
read -r A B <<< "$(echo wandb/offline-run-*)"
cp -r "$A" whole
printf 'cut' >> "$A/run-abc.wandb"  # 3 of the 7 bytes that the next record would begin with

sync() {
    rm -f url rows
    venv/bin/python server.py & local server=$!
    while [[ ! -s url ]]; do sleep 0.1; done
    status=0
    WANDB_SILENT=false WANDB_BASE_URL=$(cat url) venv/bin/wandb sync --yes "$A" "$B" > out 2>&1 || status=$?
    kill $server
    found=$(cat rows 2>/dev/null || echo 0)
    rm -f wandb/*/*.synced
    printf 'exit status %s, %s of 30 rows\n' "$status" "$found"; grep ERROR out || true
}

sync
[[ $status == 0 && $found == 20 ]] && grep -q "ends with an incomplete record" out
cp whole/run-abc.wandb "$A/run-abc.wandb"
sync
[[ $status == 0 && $found == 30 ]]
