#!/usr/bin/env bash
# typer 0.29.2 brings a copy of click: what typer.main.get_command() returns is no click.Command, though click 8.5.1 is
# installed beside it. click.Group.add_command() takes it and runs it all the same, but isinstance() checks fail, and code
# that hooks click.Command (documentation, instrumentation) sees nothing of a Typer app.
# Expected before it was run: a click.Command, as in versions that are built on click.
# Output seen: isinstance(command, click.Command): False ; Command of ['typer._click.core'] ; add_command: accepted, ...
set -eu
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q --disable-pip-version-check typer==0.29.2 click==8.5.1
"$place/venv/bin/python" - <<'P'
import sys, click, typer, typer.main
app = typer.Typer()
@app.command()
def train(lr: float = 0.1): pass
command = typer.main.get_command(app)
is_click = isinstance(command, click.Command)
base = [kind.__module__ for kind in type(command).__mro__ if kind.__name__ == "Command"]
group = click.Group()
try:
    group.add_command(command, "train"); added = "accepted"
    from click.testing import CliRunner
    result = CliRunner().invoke(group, ["train", "--lr", "0.2"])
    added += f", run: exit code {result.exit_code}, {type(result.exception).__name__ if result.exception else 'no exception'}"
except Exception as error:
    added = f"{type(error).__name__}: {error}"
print("isinstance(command, click.Command):", is_click, "; Command of", base, "; add_command:", added)
sys.exit(1 if is_click or base != ["typer._click.core"] else 0)
P
