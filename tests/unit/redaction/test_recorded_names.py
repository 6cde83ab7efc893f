"""Names of metrics and artifacts: identities without secrets."""

from __future__ import annotations

import pytest

import tracelet
from tracelet.redaction.recorded_names import masked_name

TOKEN = "ghp_" + "a1B2" * 9


@pytest.mark.parametrize("name", ["loss", "val/acc", "grad_norm/layer.0.weight", "päth", "n_token", "a\udc80"])
def test_a_name_without_a_secret_stays(name: str) -> None:
    """Ordinary names are the same afterwards."""
    assert masked_name(name) == name


def test_names_that_differ_in_their_secret_stay_two_names() -> None:
    """Neither holds the secret, and they are not one series."""
    first, second = masked_name(f"score/{TOKEN}"), masked_name(f"score/{TOKEN}x9")
    assert first.startswith("score/***-") and second.startswith("score/***-")
    assert first != second


def test_a_known_secret_in_a_name_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of the environment that looks like no token is found by comparing."""
    monkeypatch.setenv("SOME_PASSWORD", "correct-horse-22")
    assert "correct-horse-22" not in masked_name("score/correct-horse-22")


def test_no_name_parameter_or_tag_of_a_run_holds_a_secret() -> None:
    """What was logged under such a name is there, exactly, under the masked one."""
    with tracelet.start_logging("named", config={"quiet": True}) as run:
        run.log_metric(f"score/{TOKEN}", 0.25, step=3)
        run.log_params({"command": "train.py --token hunter22", "argv": ["--password", "hunter22", "--lr", "1"]})
        run.log_params({"note": "password=hunter22"})
        run.set_tags({"note": "password=hunter22"})
        run.log_artifact(__file__, name=f"{TOKEN}.py")
    found = tracelet.open_store().run(run.id)
    (metric,) = (name for name in found.metrics() if name.startswith("score"))
    assert found.series(metric).values.tolist() == [0.25]
    assert found.params["argv"] == "[--password, ***, --lr, 1]"
    assert found.params["command"] == "train.py --token ***"
    assert found.params["note"] == found.tags["note"] == "password=***"
    written = b"".join(path.read_bytes() for path in found.path.rglob("*.tlj"))
    assert TOKEN.encode() not in written and b"hunter22" not in written
