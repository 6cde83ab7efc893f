"""Why a fit ended: the limit that it reached, or who stopped it."""

from __future__ import annotations

import contextlib
import importlib
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.test_lightning_records import Kept, kept, loader, module_class, pl, quiet

__all__ = ["kept", "pl"]
pytestmark = pytest.mark.filterwarnings("ignore")  # what Lightning says about tiny loaders is not our subject


def callbacks(pl: Any) -> Any:
    return importlib.import_module(f"{pl.__name__}.callbacks")


def stopping(pl: Any, when: Callable[[Any], bool], how: Callable[[Any], None]) -> Any:
    class Stopper(callbacks(pl).Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
            if when(trainer):
                how(trainer)

    return Stopper()


def stop(trainer: Any) -> None:
    trainer.should_stop = True


def end(kept: Kept) -> dict[str, Any]:
    """The last fit's end, without what others test."""
    found = kept.events("fit_finished")[-1]
    return {name: found[name] for name in ("ended_by", "stopped_by") if name in found}


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ({"max_epochs": 1}, {"ended_by": "max_epochs"}),
        ({"max_epochs": -1, "max_steps": 3}, {"ended_by": "max_steps"}),
        ({"max_epochs": -1, "max_time": "00:00:00:00"}, {"ended_by": "max_time", "stopped_by": "Timer"}),
        ({"limit_train_batches": 0}, {"ended_by": "no_batches"}),
    ],
)
def test_a_limit_that_is_reached_is_the_cause(
    pl: Any, kept: Kept, arguments: dict[str, Any], cause: dict[str, str]
) -> None:
    """Each of the trainer's limits is named by its argument."""
    quiet(pl, **arguments).fit(module_class(pl)(), loader())
    assert end(kept) == cause


def test_who_set_should_stop_is_named(pl: Any, kept: Kept) -> None:
    """A callback directly and through a function, the module, a signal handler; a withdrawn request does not count."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if self.trainer.global_step == 5:
                self.trainer.should_stop = True
            return super().training_step(batch, batch_idx)

    plain = module_class(pl)
    quiet(pl, max_epochs=9, callbacks=[stopping(pl, lambda t: t.global_step == 6, stop)]).fit(plain(), loader())
    assert end(kept) == {"ended_by": "should_stop", "stopped_by": "Stopper"}
    assert kept.events("fit_finished")[-1]["steps"] == 6
    quiet(pl, max_epochs=9).fit(Module(), loader())
    assert end(kept) == {"ended_by": "should_stop", "stopped_by": "Module.training_step"}
    trainer = quiet(pl, max_epochs=9, callbacks=[stopping(pl, lambda t: t.global_step == 6, interrupt)])
    before = signal.signal(signal.SIGUSR2, lambda *_: stop(trainer))
    try:
        trainer.fit(plain(), loader())
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert end(kept) == {"ended_by": "should_stop", "stopped_by": f"signal {int(signal.SIGUSR2)}"}
    once = stopping(pl, lambda t: t.global_step == 2, stop)
    never = stopping(pl, lambda t: True, lambda t: setattr(t, "should_stop", False))
    quiet(pl, max_epochs=1, callbacks=[once, never]).fit(plain(), loader())
    assert end(kept) == {"ended_by": "max_epochs"}


def interrupt(_: Any) -> None:
    signal.raise_signal(signal.SIGUSR2)


def test_a_request_that_min_epochs_overrides_is_no_cause(pl: Any, kept: Kept) -> None:
    """Lightning trains on until `min_epochs`, which is the last epoch here: the limit ended the fit."""
    asked = stopping(pl, lambda t: t.global_step == 2, stop)
    quiet(pl, min_epochs=2, max_epochs=2, callbacks=[asked]).fit(module_class(pl)(), loader())
    assert end(kept) == {"ended_by": "max_epochs"}
    assert kept.events("fit_finished")[-1]["steps"] == 8


def test_an_exception_and_an_interrupt_are_causes(pl: Any, kept: Kept) -> None:
    """A fit that fails, and one that Ctrl-C ends."""

    def fails(_: Any) -> None:
        raise ValueError("theirs")

    def interrupts(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(ValueError, match="theirs"):
        quiet(pl, callbacks=[stopping(pl, lambda t: True, fails)]).fit(module_class(pl)(), loader())
    assert end(kept) == {"ended_by": "exception"}
    with contextlib.suppress(SystemExit):  # that newer Lightnings raise, and older ones do not
        quiet(pl, callbacks=[stopping(pl, lambda t: True, interrupts)]).fit(module_class(pl)(), loader())
    assert end(kept) == {"ended_by": "interrupt"}


@pytest.mark.parametrize("method", ["_evaluate_stopping_criteria", "_run_early_stopping_check"])
def test_early_stopping_by_an_overridden_criterion_is_recorded(pl: Any, kept: Kept, method: str) -> None:
    """Subclasses decide in their own way; the outcome makes the event, once."""

    class Mine(callbacks(pl).EarlyStopping):  # type: ignore[misc]
        pass

    def criterion(self: Any, current: Any) -> tuple[bool, str]:
        return bool(self.trainer.current_epoch == 1), ""

    def check(self: Any, trainer: Any) -> None:
        if trainer.current_epoch == 1:
            trainer.should_stop = True

    setattr(Mine, method, criterion if method == "_evaluate_stopping_criteria" else check)
    mine = Mine("val")
    mine.trainer = trainer = quiet(pl, callbacks=[mine], max_epochs=9)
    trainer.fit(module_class(pl)(), loader(), loader())
    (event,) = kept.events("early_stopping")
    assert (event["monitor"], event["epoch"], event["step"], event["callback"]) == ("val", 1, 8, "Mine")
    assert event["value"] == kept.series("val")[-1][1]
    assert event["reason"]
    assert end(kept) == {"ended_by": "should_stop", "stopped_by": "Mine"}


def test_early_stopping_that_a_subclass_overrules_is_not_recorded(pl: Any, kept: Kept) -> None:
    """Lightning's own criterion says stop, the subclass goes on (as a finetuning schedule does): no event."""

    class Patient(callbacks(pl).EarlyStopping):  # type: ignore[misc]
        def _evaluate_stopping_criteria(self, current: Any) -> tuple[bool, str | None]:
            super()._evaluate_stopping_criteria(current)
            return False, None

    patient = Patient("val", patience=1, min_delta=100.0)
    quiet(pl, callbacks=[patient], max_epochs=4).fit(module_class(pl)(), loader(), loader())
    assert kept.events("early_stopping") == []
    assert end(kept) == {"ended_by": "max_epochs"}


def test_the_attribute_is_plain_again_after_the_run(pl: Any) -> None:
    """During a run `should_stop` reads, writes and deletes as a plain attribute; afterwards it is one."""
    from tests.sinks import ListSink
    from tracelet.integrations.lightning import LightningIntegration

    integration = LightningIntegration(ListSink(), {})
    integration.start()
    trainer = quiet(pl)
    trainer.should_stop = True
    assert vars(trainer)["should_stop"] is trainer.should_stop is True
    del trainer.should_stop
    with pytest.raises(AttributeError, match="should_stop"):
        _ = trainer.should_stop
    integration.stop()
    assert "should_stop" not in vars(pl.Trainer)
    trainer.should_stop = False
    assert trainer.should_stop is False
