"""Metrics of trainings instrumented by hand: durations, configuration, throughput, evaluations, saves and tokens."""

from __future__ import annotations

import math
from collections import UserDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import tracelet
from tracelet import telemetry
from tracelet.errors import SettingsError
from tracelet.journal.records import Event
from tracelet.telemetry.recording.duration_stats import DurationStats
from tracelet.telemetry.recording.peak_flops import PEAKS, peak_of
from tracelet.telemetry.recording.span_recorder import ActiveSpan
from tracelet.telemetry.recording.token_counts import tokens_of

SETTINGS = {
    "track_git": False, "track_env": False, "track_system": False, "track_lightning": False, "delivery": "off",
    "quiet": True,
}  # fmt: skip
SECOND = 1_000_000_000
BEGIN = 1_700_000_000_000


@pytest.fixture
def run() -> Iterator[Any]:
    """Ends an active run and gives its events by name."""
    experiment = tracelet.start_logging("metrics", config=SETTINGS)

    def events(name: str) -> list[dict[str, Any]]:
        tracelet.stop_logging()
        found: list[Event] = tracelet.open_store().run(experiment.id).events(name)
        return [event.attributes for event in found]

    yield events
    tracelet.stop_logging()


def iterate(count: int, milliseconds: int = 100, start: int = 0) -> None:
    for number in range(start, start + count):
        telemetry.on_training_single_iteration_start(BEGIN + number * milliseconds)
        telemetry.on_training_single_iteration_end(BEGIN + (number + 1) * milliseconds)


def test_duration_stats() -> None:
    """A meter knows count, sum, mean and extremes, in seconds where it tells them."""
    durations = DurationStats()
    assert durations.seconds("time") == {} and durations.mean == 0
    durations.extend([3 * SECOND, SECOND])
    durations.extend([])
    durations.add(2 * SECOND)
    assert durations.seconds("time") == {"avg_time_sec": 2, "min_time_sec": 1, "max_time_sec": 3, "total_time_sec": 6}


def test_a_training_by_hand(run: Any) -> None:
    """Windows are full at multiples of the interval, samples and operations follow the global batch size, the tail is
    told.
    """
    telemetry.configure(
        global_batch_size=32, flops_per_sample=10**9, log_every_n_train_iterations=4, seq_length=128, world_size=2
    )
    telemetry.on_train_start(10, None, 20, lambda: 640)
    iterate(6)
    telemetry.on_train_end()
    first, second = run("training_metrics_update")
    assert first["current_iteration"] == 11 and first["num_iterations"] == 2
    assert second["current_iteration"] == 15 and second["num_iterations"] == 6 and second["window_iterations"] == 4
    assert second["num_train_samples"] == 192 and second["train_samples_start"] == 320
    assert second["avg_iteration_time_sec"] == pytest.approx(0.1)
    assert second["train_tokens"] == 192 * 128 and second["samples_per_second"] == pytest.approx(320)
    assert second["completed_floating_point_operations_overall"] == (320 + 192) * 10**9
    assert second["train_throughput_per_gpu"] == pytest.approx(192e9 / (0.6 * 1e12 * 2))


def test_the_tail_of_a_training(run: Any) -> None:
    """What no window was full enough for is told at the loop's end, once, and an empty loop tells nothing."""
    telemetry.configure(log_every_n_train_iterations=4)
    with telemetry.training_loop():
        iterate(5)
    with telemetry.training_loop(5):
        pass
    full, tail = run("training_metrics_update")
    assert full["num_iterations"] == 4 and tail["num_iterations"] == 5 and tail["tail"] is True
    assert "num_train_samples" in tail and "samples_per_second" not in tail


def test_phases_by_hand(run: Any) -> None:
    """Phases that are timed by hand give the averages of loading, forward, backward and optimizer."""
    with telemetry.training_loop(), telemetry.training_iteration():
        for phase in (telemetry.data_loading, telemetry.model_forward, telemetry.zero_grad, telemetry.model_backward):
            with phase():
                pass
        with telemetry.optimizer_update():
            pass
    (tail,) = run("training_metrics_update")
    assert {f"avg_{word}_time_sec" for word in ("dataloader", "forward", "backward", "optimizer")} <= tail.keys()


def test_evaluations_by_hand(run: Any) -> None:
    """Validations and tests tell how many batches they had and how long these took."""
    for _ in range(2):
        with telemetry.validation_loop():
            for _batch in range(3):
                with telemetry.validation_iteration():
                    pass
    telemetry.on_testing_start()
    telemetry.on_testing_single_iteration_start(BEGIN)
    telemetry.on_testing_single_iteration_end(BEGIN + 500)
    telemetry.on_testing_end()
    first, second = run("validation_metrics_update")
    assert first["batches"] == second["batches"] == 3 and first["current_iteration"] == first["interval"] == 0
    (tested,) = run("testing_metrics_update")
    assert tested["avg_iteration_time_sec"] == 0.5


def test_saves_by_hand(run: Any, tmp_path: Any) -> None:
    """A save that ends well tells its success, one that raises does not, and an asynchronous one is told later."""
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"12345")
    with telemetry.checkpoint_save(3, str(path)):
        pass
    with pytest.raises(OSError), telemetry.checkpoint_save(4):
        raise OSError("full")
    telemetry.configure(save_checkpoint_strategy="async")
    telemetry.on_save_checkpoint_start(5)
    telemetry.on_save_checkpoint_end()
    telemetry.on_save_checkpoint_success(5)
    first, second = run("save_checkpoint_success")
    assert first["checkpoint_size"] == 5 and first["checkpoint_directory"] == str(tmp_path)
    assert (first["current_iteration"], second["current_iteration"]) == (3, 5)
    assert second["checkpoint_strategy"] == "async" and second["save_checkpoint_success_count"] == 2
    assert len(run("sync_checkpoint_metrics_update")) == 3


def test_configuration() -> None:
    """What is told before a run is the next run's; unknown names and strategies are refused with the known ones."""
    with pytest.raises(SettingsError, match=r"'seq_len' is not an option .* seq_length"):
        telemetry.configure(seq_len=3)
    with pytest.raises(SettingsError, match="expected 'sync' or 'async'"):
        telemetry.configure(save_checkpoint_strategy="never")
    for odd in ("many", -3, math.nan, math.inf, True, [1]):
        with pytest.raises(SettingsError, match="'flops_per_sample' cannot be .* expected a number"):
            telemetry.configure(flops_per_sample_or_fn=odd)
    telemetry.configure(flops_per_sample=6e9, seq_length=np.int64(16))
    telemetry.configure(perf_tag_or_fn=lambda: "quick", custom_metadata={"team": "vision"})
    for expected in (1, 0):
        with tracelet.start_logging("configured", config=SETTINGS) as experiment:
            pass
        told = tracelet.open_store().run(experiment.id).events("update_training_telemetry_config")
        assert [event.attributes["perf_tag"] for event in told] == ["quick"] * expected
        assert [event.attributes["custom_metadata"] for event in told] == [["team:vision"]] * expected


def test_peaks() -> None:
    """A device is known by a part of its name, the longer name first; an unknown one has no peak."""
    assert peak_of("NVIDIA H100 PCIe") == 756e12 and peak_of("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_of("NVIDIA L40S") == 362e12 and peak_of("NVIDIA L4") == 121e12
    assert peak_of("abacus") is None and peak_of("") is None
    for place, (name, _) in enumerate(PEAKS):
        assert not any(earlier in name for earlier, _ in PEAKS[:place]), f"{name} is never reached"


def test_samples_and_tokens_of_an_iteration(run: Any) -> None:
    """A loop by hand may tell what each iteration had; a sequence length that is told wins over tokens."""
    with telemetry.training_loop():
        for rows in (4, 6):
            with telemetry.training_iteration() as iteration:
                iteration.add_attribute("samples", rows)
                iteration.add_attribute("tokens", rows * 10)
        with telemetry.training_iteration():
            pass
    (event,) = run("training_metrics_update")
    assert (event["num_train_samples"], event["train_tokens"], event["num_iterations"]) == (10, 100, 3)


def test_tokens_of_a_batch() -> None:
    """Tokens are a table of whole numbers, first or under a usual name; anything else has none."""
    ids, pictures, names = (
        torch.zeros(2, 7, dtype=torch.int64),
        torch.zeros(2, 7),
        UserDict(input_ids=torch.ones(3, 4).int()),
    )
    for batch in (ids, (ids, pictures), [ids], {"labels": pictures, "tokens": ids}, ({"idx": ids}, 1)):
        assert tokens_of(batch) == (14, 2)
    assert tokens_of(names) == (12, 3)
    others: list[Any] = [pictures, (pictures, ids), {"x": ids}, ids[0], ids.bool(), None, 3, [], {"tokens": [1, 2]}]
    for other in others:
        assert tokens_of(other) is None


def problems() -> list[str]:
    return tracelet.open_store().run("latest").problems


def test_a_function_that_fails_costs_its_own_value(run: Any) -> None:
    """A configured function that raises, or returns nonsense, is a problem of the run, once; spans and the other
    values stay, and the next run knows nothing of it.
    """
    telemetry.configure(
        flops_per_sample=lambda: 1 / 0, global_batch_size=lambda: "x", seq_length=lambda: True, perf_tag=lambda: "p"
    )
    with telemetry.training_loop():
        for _ in range(3):
            with telemetry.training_iteration():
                pass
    (update,) = run("training_metrics_update")
    assert update["num_iterations"] == 3 and not update.keys() & {"total_flops", "train_tokens"}
    found = tracelet.open_store().run("latest")
    (config,) = (event.attributes for event in found.events("update_training_telemetry_config"))
    assert config["perf_tag"] == "p" and "global_batch_size" not in config
    assert sorted(text.split(" is not used: ")[1] for text in found.problems) == [
        "its function raised ZeroDivisionError: division by zero. What depends on it is not recorded.",
        "its function returned 'x', not a whole number. What depends on it is not recorded.",
        "its function returned True, not a whole number. What depends on it is not recorded.",
    ]
    with tracelet.start_logging("next", config=SETTINGS):
        pass
    assert problems() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("global_batch_size", 2.5), ("log_every_n_train_iterations", 0), ("log_every_n_train_iterations", True),
     ("world_size", 0), ("train_iterations_target", 1.5), ("custom_metadata", 5), ("flops_per_sample", True)],
)  # fmt: skip
def test_values_that_count_nothing_are_refused(name: str, value: object) -> None:
    """Switches and fractions are no counts; whoever configures is told so at once."""
    with pytest.raises(SettingsError, match=name):
        telemetry.configure(**{name: value})


def test_what_is_told_late_is_kept(run: Any) -> None:
    """What describes the run itself and is told after its start is in the event about the configuration."""
    telemetry.configure(session_tag="job-7", application_name="app", is_baseline_run=True)
    (config,) = run("update_training_telemetry_config")
    assert (config["session_tag"], config["application_name"], config["is_baseline_run"]) == ("job-7", "app", True)


def test_the_target_of_the_program_counts(run: Any) -> None:
    """A target that the program has told is not replaced by what a framework would guess."""
    telemetry.configure(train_iterations_target=1000)
    assert _job().training.begin_loop(0, likely_target=24)["train_iterations_target"] == 1000
    telemetry.configure(train_iterations_target=None)
    assert _job().training.begin_loop(0, likely_target=24)["train_iterations_target"] == 24
    assert len(run("update_training_telemetry_config")) == 2


def _job() -> Any:
    from tracelet.telemetry.recording import active_recorder

    return active_recorder.job()


def test_evaluations_tell_the_progress_of_the_training(run: Any) -> None:
    """Events of evaluations name the training iteration, and how many there were since the evaluation before."""
    with telemetry.training_loop():
        for count in (4, 6):
            for _ in range(count):
                with telemetry.training_iteration():
                    pass
            with telemetry.validation_loop(), telemetry.validation_iteration():
                pass
    first, second = run("validation_metrics_update")
    assert (first["current_iteration"], first["interval"]) == (3, 4)
    assert (second["current_iteration"], second["interval"]) == (9, 6)


def test_events_have_the_times_that_were_given(run: Any) -> None:
    """Events that follow from explicit times are at these times, not at the moment of the call."""
    begin = int(_job().application.start_ns / 1e6) - 60_000
    telemetry.on_train_start(start_time_msec=begin)
    telemetry.configure(log_every_n_train_iterations=2)
    for number in range(3):
        telemetry.on_training_single_iteration_start(begin + 100 * number)
        telemetry.on_training_single_iteration_end(begin + 100 * number + 50)
    telemetry.on_train_end(begin + 1000)
    run("training_metrics_update")
    events = tracelet.open_store().run("latest").events("training_metrics_update")
    assert [event.time // 1000 - begin for event in events] == [150, 1000]


def test_an_application_begins_once(run: Any) -> None:
    """Saying again that the program begins opens no second application."""
    first, second = telemetry.on_app_start(), telemetry.on_app_start()
    assert first is second
    telemetry.on_app_end()
    run("application")
    assert tracelet.open_store().run("latest").spans().names == ["application"]


def test_operations_are_whole_numbers(run: Any) -> None:
    """Floating-point operations are counted in integers, as nv-one-logger does."""
    telemetry.configure(flops_per_sample=100, global_batch_size=32)
    with telemetry.training_loop() as loop, telemetry.training_iteration():
        assert isinstance(loop, ActiveSpan)
    assert type(loop.attributes["completed_floating_point_operations_overall"]) is int
    (update,) = run("training_metrics_update")
    assert update["total_flops"] == 3200 and type(update["total_flops"]) is int
