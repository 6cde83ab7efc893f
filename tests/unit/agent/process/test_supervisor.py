"""The program that the supervisor starts."""

from __future__ import annotations

from tracelet.agent import __file__ as package
from tracelet.agent.process import supervisor


def test_the_agents_program_is_where_the_supervisor_starts_it() -> None:
    """The path that is handed to Python is that of `tracelet/agent/__main__.py`, wherever the supervisor itself is."""
    assert supervisor.AGENT_PROGRAM.is_file()
    assert supervisor.AGENT_PROGRAM.samefile(supervisor.AGENT_PROGRAM.with_name("__main__.py"))
    assert str(supervisor.AGENT_PROGRAM.parent) in package
