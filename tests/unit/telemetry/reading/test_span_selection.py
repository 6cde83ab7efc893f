"""Which spans a backend or an export gets."""

from __future__ import annotations

from tracelet.telemetry.reading.span_selection import Selection


def test_selection() -> None:
    """Names are allowed or denied; a child of what is left out finds its nearest kept ancestor."""
    known = {1: ("application", 0), 2: ("training_loop", 1), 3: ("step", 2), 4: ("mine", 3)}
    assert Selection().everything and Selection().parent(3, known) == 3 and Selection.parse("all").everything
    deny = Selection.parse(deny="training_loop, step")
    assert deny.includes("mine") and not deny.includes("step") and deny.parent(3, known) == 1
    allow = Selection.parse(["mine", "training_loop"])
    assert allow.includes("mine") and not allow.includes("application") and allow.parent(2, known) == 2
    assert allow.parent(1, known) == 0 and deny.parent(77, known) == 0 and Selection().parent(77, known) == 77
    assert Selection.parse(deny="a").parent(5, {5: ("a", 6), 6: ("a", 5)}) == 0
