"""`tracelet run` against plain Python: the program cannot tell the difference, and its run is recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import tracelet
from tests.environments import lightning_python
from tracelet.store.run import Run

QUIET = {"TRACELET_QUIET": "true", "TRACELET_TRACK_GIT": "false", "TRACELET_TRACK_ENV": "false"}
PROBE = """
import json, os, sys
print(json.dumps({
    "argv": sys.argv, "name": __name__, "file": __file__, "path": sys.path, "cwd": os.getcwd(), "package": __package__,
    "flags": str(sys.flags), "warnoptions": sys.warnoptions, "xoptions": sys._xoptions, "stdin": sys.stdin.read(),
    "spec": getattr(__spec__, "name", None), "customized": "sitecustomize" in sys.modules, "trace": sys.gettrace(),
    "excepthook": sys.excepthook is sys.__excepthook__, "handlers": __import__("logging").root.handlers,
    "cache": [entry for entry in sys.path_importer_cache if "autostart" in entry],
}))
"""
"""What a program can see of how it was started."""


def environment(**extra: str) -> dict[str, str]:
    """That of the tests, and the settings that keep runs small."""
    return {**os.environ, **QUIET, **extra}


def write(path: Path, code: str) -> Path:
    """A program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(code), encoding="utf-8")
    return path


def execute(*command: str, stdin: str = "", env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, env=env or environment(), timeout=120, check=False
    )


def both(
    options: list[str],
    program: list[str],
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """(plain Python, `tracelet run`) of the same program."""
    plain = execute(python, *options, *program, stdin=stdin, env=env)
    ours = execute(python, *options, "-m", "tracelet", "run", *program, stdin=stdin, env=env)
    return plain, ours


def runs() -> list[Run]:
    """What was recorded, newest first."""
    return tracelet.open_store().runs()


@pytest.mark.parametrize(
    ("options", "program"),
    [
        ([], ["probe.py"]),
        ([], ["./probe.py", "--lr", "0.1", "--", "-m", "--name", "x y", ""]),
        ([], ["deep/er/probe.py", "--help"]),
        ([], ["-m", "package.probe", "--name", "x", "-m"]),
        ([], ["-m", "package"]),
        ([], ["package"]),
        (["-O", "-X", "dev", "-W", "ignore::ResourceWarning", "-B"], ["probe.py"]),
    ],
    ids=lambda part: " ".join(part) or "-",
)
def test_the_program_sees_plain_python(tmp_path: Path, options: list[str], program: list[str]) -> None:
    """Arguments, `__name__`, `__file__`, `sys.path`, flags, standard input and hooks are those of plain Python."""
    for place in ("probe.py", "deep/er/probe.py", "package/probe.py", "package/__main__.py", "package/__init__.py"):
        write(tmp_path / place, "" if place.endswith("__init__.py") else PROBE)
    plain, ours = both(options, program, stdin="some\ninput")
    assert plain.returncode == 0, plain.stderr
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, plain.returncode)
    assert [run.info.status for run in runs()] == ["finished"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise SystemExit(0)", "finished"),
        ("raise SystemExit(3)", "finished"),
        ("raise SystemExit('no')", "finished"),
        ("def f():\n    1 / 0\nf()", "failed"),
        ("raise KeyboardInterrupt", "interrupted"),
        ("def (", "failed"),
        ("import os; os._exit(7)", "killed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "killed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed"),
        ("import sys; print(1 / 3); sys.stdout.close()", "finished"),
    ],
)
def test_endings_are_plain_pythons(tmp_path: Path, code: str, status: str) -> None:
    """Exit codes, tracebacks and deaths by signal are the same, and the run says how it ended."""
    write(tmp_path / "program.py", code + "\n")
    plain, ours = both([], ["program.py"])
    assert (ours.returncode, ours.stdout, ours.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert [run.info.status for run in runs()] == [status]


@pytest.mark.slow
def test_an_error_inside_lightning_is_the_same_error(tmp_path: Path) -> None:
    """Our wrappers are frames between Lightning's; all other frames, and the error, are those of plain Python."""
    write(
        tmp_path / "program.py",
        """
        import lightning as L, torch, warnings
        warnings.simplefilter("ignore")

        class Model(L.LightningModule):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(2, 1)
            def training_step(self, batch, index):
                raise ValueError("mine")
            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), 0.1)

        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        data = torch.utils.data.DataLoader(torch.rand(4, 2))
        L.Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(Model(), data)
        """,
    )
    plain, ours = both([], ["program.py"], python=lightning_python())
    frames = [
        [line for line in one.stderr.splitlines() if line.startswith("  File ") and "/tracelet/" not in line]
        for one in (plain, ours)
    ]
    assert frames[0] == frames[1]
    assert "training_step" in frames[0][-1]
    assert [one.stderr.splitlines()[-1] for one in (plain, ours)] == ["ValueError: mine"] * 2
    assert (ours.returncode, [run.info.status for run in runs()]) == (plain.returncode, ["failed"])


def test_a_module_that_is_not_there(tmp_path: Path) -> None:
    """`-m` of nothing says what Python says."""
    plain, ours = both([], ["-m", "no_such_module_anywhere"])
    assert (ours.returncode, ours.stderr) == (plain.returncode, plain.stderr)
    (run,) = runs()
    reason = "Python found nothing to run in module 'no_such_module_anywhere'"
    assert (run.info.status, run.info.reason) == ("failed", reason)


def test_a_folder_without_a_program(tmp_path: Path) -> None:
    """A folder says what Python says, and its run has failed; with a `__main__.py` it is a program like others."""
    (tmp_path / "folder").mkdir()
    plain, ours = both([], ["folder"])
    assert (ours.returncode, ours.stderr) == (plain.returncode, plain.stderr)
    write(tmp_path / "folder" / "__main__.py", "raise SystemExit(1)\n")
    both([], ["folder"])
    ends = [(run.info.status, run.info.reason) for run in runs()]
    assert ends == [("finished", ""), ("failed", "Python found nothing to run in folder 'folder'")]


def test_signals_reach_the_program(tmp_path: Path) -> None:
    """`tracelet run` is the program's process: a signal sent to it arrives, and a handler of the program runs."""
    write(
        tmp_path / "program.py",
        """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
        print("ready", flush=True)
        time.sleep(60)
        """,
    )
    program = subprocess.Popen(
        [sys.executable, "-m", "tracelet", "run", "program.py"], stdout=subprocess.PIPE, env=environment()
    )
    assert program.stdout is not None
    with program:
        assert program.stdout.readline() == b"ready\n"
        program.send_signal(signal.SIGTERM)
        assert program.wait(30) == 5


def test_pickles_and_spawned_workers(tmp_path: Path) -> None:
    """Classes of the script pickle as plain Python pickles them, spawned workers find them, and one run results."""
    program = write(
        tmp_path / "elsewhere" / "program.py",
        """
        import multiprocessing, os, pickle, sys

        class Thing:
            pass

        def work(thing):
            import tracelet
            return type(thing).__name__, tracelet.get_active_experiment() is None, "autostart" in " ".join(sys.path)

        if __name__ == "__main__":
            assert b"__main__" in pickle.dumps(Thing())
            for method in ("spawn", "forkserver"):
                with multiprocessing.get_context(method).Pool(1) as pool:
                    print(pool.apply(work, (Thing(),)))
        """,
    )
    done = execute(sys.executable, "-m", "tracelet", "run", str(program))
    assert done.stdout == "('Thing', True, False)\n" * 2, done.stderr
    assert len(runs()) == 1


def test_only_ranks_of_the_children_are_recorded(tmp_path: Path) -> None:
    """A child with a rank of its own joins the run; other Pythons, pip and children of ranks stay what they are."""
    write(
        tmp_path / "child.py",
        """
        import os, subprocess, sys
        sys.stdout.write(" ".join(sys.argv[1:]) + "\\n")
        if "deeper" in sys.argv:
            subprocess.check_call([sys.executable, "child.py", "of a rank"])
        """,
    )
    write(
        tmp_path / "program.py",
        """
        import os, subprocess, sys, tracelet
        def child(*arguments, **env):
            sys.stdout.flush()
            subprocess.check_call([sys.executable, *arguments], env={**os.environ, **env})
        tracelet.start_logging("parent")
        os.environ["LOCAL_RANK"] = "0"  # as Lightning's launcher does
        child("child.py", "plain")
        child("-m", "pip", "--version")
        child("child.py", "rank", "deeper", LOCAL_RANK="1", WORLD_SIZE="2")
        child("-c", "print('snippet')", LOCAL_RANK="1")
        """,
    )
    done = execute(sys.executable, "-m", "tracelet", "run", "--name", "given", "program.py")
    assert done.returncode == 0, done.stderr
    (run,) = runs()
    assert [view.started.rank for view in run.views if view.started] == [0, 1]
    assert [view.started.name for view in run.views if view.started] == ["given", "given"]


def test_torchrun_is_not_recorded_its_ranks_are(tmp_path: Path) -> None:
    """Under `tracelet run -m torch.distributed.run` there is one run, of the ranks."""
    pytest.importorskip("torch")
    write(
        tmp_path / "train.py",
        """
        import os, tracelet
        tracelet.log({"rank": float(os.environ["RANK"])})
        """,
    )
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "train.py"]
    done = execute(sys.executable, "-m", "tracelet", "run", *launcher)
    assert done.returncode == 0, done.stderr
    (run,) = runs()
    assert run.info.world_size == 2
    assert [run.series("rank", rank).values.tolist() for rank in (0, 1)] == [[0.0], [1.0]]


def test_the_users_own_customizations_run(tmp_path: Path) -> None:
    """PYTHONPATH and a `sitecustomize` of the user's work as before; an error in it is reported by Python as before."""
    write(tmp_path / "lib" / "sitecustomize.py", "import sys; sys.customized = 'mine'")
    write(tmp_path / "program.py", "import sys; print(sys.customized, sys.modules['sitecustomize'].__file__, sys.path)")
    paths = environment(PYTHONPATH=os.pathsep.join([str(tmp_path / "lib"), *sys.path]))
    plain, ours = both([], ["program.py"], env=paths)
    assert plain.returncode == 0, plain.stderr
    assert (ours.stdout, ours.stderr) == (plain.stdout, plain.stderr)
    write(tmp_path / "lib" / "sitecustomize.py", "raise RuntimeError('mine')")
    write(tmp_path / "program.py", "print('ran')")
    plain, ours = both([], ["program.py"], env=paths)
    assert (ours.stdout, ours.stderr) == (plain.stdout, plain.stderr * 2)  # the command itself is Python as well
    assert len(runs()) == 2


def test_a_store_that_cannot_be_written_does_not_stop_the_program(tmp_path: Path) -> None:
    """The program runs and ends as it would; one line says that nothing is recorded."""
    (tmp_path / "file").write_text("")
    write(tmp_path / "program.py", "import sys; print('ran'); sys.exit(4)")
    done = execute(sys.executable, "-m", "tracelet", "run", "program.py", env=environment(TRACELET_DIR="file/store"))
    assert (done.returncode, done.stdout) == (4, "ran\n")
    assert done.stderr.count("\n") == 1
    assert "but is not recorded" in done.stderr


def test_options_describe_the_run(tmp_path: Path) -> None:
    """--name, --project, --backend, --tag, --config and --dir are those of the run."""
    write(tmp_path / "program.py", "import tracelet; tracelet.log({'x': 1.5})")
    options = ["--name", "n", "--project", "p", "--backend", "jsonl", "--tag", "a=b", "--tag", "c", "--dir", "store"]
    options += ["--config", "flush_interval=0.1"]
    done = execute(sys.executable, "-m", "tracelet", "run", *options, "program.py")
    assert done.returncode == 0, done.stderr
    (run,) = tracelet.open_store("store").runs()
    assert (run.info.name, run.info.project, run.info.backends) == ("n", "p", ("jsonl",))
    assert run.tags == {"a": "b", "c": "true"}
    assert run.series("x").values.tolist() == [1.5]


def test_the_store_is_chosen_as_the_script_was_found(tmp_path: Path) -> None:
    """A script in another folder is recorded where the command was typed, under its own name."""
    write(tmp_path / "far" / "train.py", "import os; os.chdir('/')")
    execute(sys.executable, "-m", "tracelet", "run", "far/train.py")
    (run,) = runs()
    assert run.info.name == "train"
    assert run.info.folder == str(tmp_path)


def test_an_interrupt_from_the_keyboard(tmp_path: Path) -> None:
    """Ctrl-C gives Python's traceback and death by SIGINT, and the run is `interrupted`."""
    write(tmp_path / "program.py", "import time; print('ready', flush=True); time.sleep(60)")
    program = subprocess.Popen(
        [sys.executable, "-m", "tracelet", "run", "program.py"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    )  # fmt: skip
    assert program.stdout is not None
    assert program.stderr is not None
    with program:
        program.stdout.readline()
        time.sleep(0.1)
        program.send_signal(signal.SIGINT)
        assert program.stderr.read().endswith(b"KeyboardInterrupt\n")
        assert program.wait(30) == -signal.SIGINT
    assert [run.info.status for run in runs()] == ["interrupted"]


@pytest.mark.slow
def test_lightnings_ranks_are_recorded(tmp_path: Path) -> None:
    """Lightning's own launcher starts the second rank of a script: both are in one run, without a line of code."""
    pytest.importorskip("lightning")
    write(
        tmp_path / "train.py",
        """
        import lightning, torch

        class Module(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(4, 1)

            def training_step(self, batch):
                loss = self.layer(batch).square().mean()
                self.log("loss", loss)
                return loss

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.01)

        if __name__ == "__main__":
            lightning.Trainer(
                accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False,
            ).fit(Module(), torch.utils.data.DataLoader(torch.ones(16, 4), batch_size=2))
        """,
    )
    done = execute(lightning_python(), "-m", "tracelet", "run", "--name", "two", "train.py")
    assert done.returncode == 0, done.stderr
    (run,) = runs()
    assert run.info.name == "two"
    assert [len(run.series("loss", rank)) for rank in (0, 1)] == [4, 4]


def test_each_job_of_a_sweep_is_a_run(tmp_path: Path) -> None:
    """Under `tracelet run` the jobs of Hydra's `--multirun` are runs of one group; one that fails is a failed run."""
    script = write(
        tmp_path / "sweep.py",
        """
        import hydra, tracelet
        from hydra.core.config_store import ConfigStore
        ConfigStore.instance().store(name="config", node={"lr": 0.1})
        @hydra.main(version_base=None, config_path=None, config_name="config")
        def main(config):
            tracelet.log({"loss": config.lr})
            if config.lr > 0.2:
                raise ValueError("diverged")
        main()
        """,
    )
    done = execute(sys.executable, "-m", "tracelet", "run", str(script), "--multirun", "lr=0.1,0.2,0.3")
    assert done.returncode == 1
    runs = {run.info.name: run for run in tracelet.open_store().runs()}
    assert {name: (run.params["lr"], run.info.status) for name, run in runs.items()} == {
        "sweep-0": (0.1, "finished"), "sweep-1": (0.2, "finished"), "sweep-2": (0.3, "failed"),
    }  # fmt: skip
    assert [runs[f"sweep-{job}"].series("loss").values.tolist() for job in range(3)] == [[0.1], [0.2], [0.3]]
    assert len({run.tags["group"] for run in runs.values()}) == 1
    assert runs["sweep-2"].info.reason == "ValueError: diverged"


def test_explain_and_runs_without_metrics(tmp_path: Path) -> None:
    """`--explain` names each library with what was patched and recorded; a run without metrics says so by itself."""
    script = write(
        tmp_path / "empty.py",
        """
        import argparse, torch
        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", default=0.1)
        net, inputs = torch.nn.Linear(2, 1), torch.ones(1, 2)
        optimizer = torch.optim.SGD(net.parameters(), lr=float(parser.parse_args().lr))
        for _ in range(3):
            net(inputs).sum().backward()
            optimizer.step()
        """,
    )
    loud = environment(TRACELET_QUIET="false")
    done = execute(sys.executable, "-m", "tracelet", "run", str(script), env=loud)
    (line,) = [line for line in done.stderr.splitlines() if "no metric was recorded" in line]
    assert "torch 2." in line
    assert "3 steps of optimizers" in line
    assert "tracelet.log(" in line
    done = execute(sys.executable, "-m", "tracelet", "run", "--explain", str(script))
    said = {line.split()[0]: line for line in done.stderr.splitlines()[1:]}
    assert "places patched" in said["torch"]
    assert "not in this version" not in said["torch"]
    assert said["lightning"].endswith("not imported")
    assert "1 argparse" in done.stderr
    assert done.returncode == 0
