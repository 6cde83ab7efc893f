"""The rules of alerts: what they find in points, once, and at the end."""

from __future__ import annotations

import math

from tracelet.agent.alerts.rules import Rules


def test_a_metric_is_reported_once_per_rule() -> None:
    """NaN and infinities, values above and below a limit, patterns; the first step counts."""
    rules = Rules("nan,val/*>10,acc < -1e-3", "run")
    first = list(rules.points("val/loss", [1, 2, 3], [1.0, math.inf, 20.0]))
    assert [(alert.title, alert.text, alert.level) for alert in first] == [
        ("run: val/loss is inf", "at step 2", "error"), ("run: val/loss is above 10", "inf at step 2", "warning"),
    ]  # fmt: skip
    assert list(rules.points("val/loss", [4], [math.nan])) == []
    assert [alert.title for alert in rules.points("acc", [0, 1], [0.0, -0.5])] == ["run: acc is below -0.001"]
    assert list(rules.points("loss", [0], [1e9])) == []


def test_the_end_and_silence_are_reported_if_asked_for() -> None:
    """A status that no rule names is none; the shortest of several limits of silence counts."""
    rules = Rules("killed,stalled:30,stalled:0.5", "run")
    assert list(rules.status("finished", "", 1.0)) == []
    (killed,) = rules.status("killed", "SIGKILL", 5.0)
    assert (killed.title, killed.text) == ("run: killed", "SIGKILL")
    assert rules.stalled_after == 30
    assert "0.5 minutes" in rules.stalled(7.0).text
    assert Rules("", "run").stalled_after == 0
