"""Imported by Python's `site` in every interpreter below `tracelet run`, before the program: starts the recording, or
not.

Runs on the main thread of a process that is not ours, so it must be cheap, quiet and leave no trace: it removes its
folder from `sys.path`, decides from the environment whether to record this process, and then imports the user's own
`sitecustomize`. Interpreters of any version may import it, with tracelet or without: no syntax newer than Python 2.7.

    TRACELET_AUTOSTART = "PID PLACE OPTIONS"

PID is the process that `tracelet run` became, or `*` below the command of a sweep's trial: any program but `python -c`
and launchers of ranks. PLACE is the rank of the last process that was recorded because of this
variable: a process with another rank was started by a launcher (Lightning's, torchrun) and is recorded too; one with
the same rank is a child of it (pip, a DataLoader worker, a subprocess) and is not.
"""

import os
import sys

VARIABLE = "TRACELET_AUTOSTART"
_ourselves = sys.modules[__name__]  # Python 2 clears a module without references


def place():  # type: () -> str
    """The rank and launch of this process, as text without spaces."""
    names = "RANK", "LOCAL_RANK", "TORCHELASTIC_RUN_ID"
    return "/".join(os.environ.get(name) or "0" for name in names).replace(" ", "_")


def meant():  # type: () -> str | None
    """The options of the recording if this process is to be recorded, else None."""
    parts = os.environ.get(VARIABLE, "").split(" ", 2)
    if len(parts) < 3:
        return None
    pid, last, options = parts
    here = place()
    if pid == "*":
        if is_snippet() or is_launcher():
            return None
        pid = str(os.getpid())
    is_rank = here != last and ("RANK" in os.environ or "LOCAL_RANK" in os.environ)
    if pid != str(os.getpid()) and (not is_rank or is_snippet()):
        return None
    os.environ[VARIABLE] = " ".join((pid, here, options))
    return options


def is_snippet():  # type: () -> bool
    """Whether this is `python -c ...`, as multiprocessing starts its workers; no launcher starts a rank this way."""
    command = list(getattr(sys, "orig_argv", ()))
    return "-c" in command[:8]


def is_launcher():  # type: () -> bool
    """Whether this program only starts the ranks of a training, which are recorded in its stead."""
    command = [os.path.basename(word) for word in list(getattr(sys, "orig_argv", ()))[1:4]]
    launchers = "torchrun", "accelerate", "torch.distributed.run", "accelerate.commands.launch"
    return any(word in launchers for word in command)


def withdraw():  # type: () -> None
    """Restore `sys.path` as it is without `tracelet run`."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    sys.path_importer_cache.pop(here, None)


def give_way():  # type: () -> None
    """Import the user's own `sitecustomize`; without one, raise ImportError as `site` expects."""
    del sys.modules["sitecustomize"]
    __import__("sitecustomize")


withdraw()
try:
    give_way()
finally:
    _options = meant()
    if _options is not None:
        try:
            from tracelet.session.autostart import start_from_command_line
        except ImportError:
            sys.stderr.write("tracelet: this Python has no tracelet and records nothing: %s\n" % sys.executable)
        else:
            start_from_command_line(_options)
