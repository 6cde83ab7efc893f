"""The configuration of a sweep: what is accepted, and what a person reads about a wrong one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tracelet.errors import SweepError
from tracelet.sweeps.sweep_config import SweepConfig
from tracelet.sweeps.trial_command import fill_command

FULL = """\
program: train.py
name: widths
project: vision
description: how wide
method: bayes
run_cap: 30
metric: {name: val_loss, goal: maximize, target: 0.99, impute: latest}
early_terminate: {type: hyperband, max_iter: 27, s: 2, eta: 3, strict: false}
parameters:
  lr: {distribution: log_uniform_values, min: 1e-5, max: 0.1}
  optimizer:
    parameters:
      name: {values: [adam, sgd]}
      momentum: {min: 0, max: 0.9}
  layers: {min: 1, max: 4}
  dropout: {values: [0.1, 0.5], probabilities: [0.25, 0.75]}
  epochs: {value: 3}
command: ["${env}", "${interpreter}", "-O", "${program}", "${args_no_hyphens}"]
controller: {type: local}
"""
VALID = "method: random\nmetric: {name: loss}\nparameters:\n  lr: {min: 0.001, max: 0.1}\n"
WRONG = {
    "methd: random": ["line 1", "no key 'methd'", "Did you mean 'method'?"],
    VALID + "method: grid": ["line 5", "'method' is given twice"],
    VALID.replace("random", "rnd"): ["line 1", "`method: rnd` is unknown", "Did you mean 'random'?"],
    VALID.replace("random", "grid"): ["line 4", "a grid cannot enumerate 'lr' with distribution 'uniform'"],
    "method: bayes\nparameters: {a: {values: [1]}}": ["line 1", "`method: bayes` needs a `metric`"],
    "method: random": ["line 1", "`parameters` is missing"],
    "method: random\nparameters: {}": ["line 2", "at least one parameter"],
    "method: random\nparameters: [lr]": ["line 2", "must be a mapping, not ['lr']"],
    VALID + "  batch: [16, 32]": ["line 5", "Type: batch: {values: [16, 32]}"],
    VALID + "  epochs: 3": ["line 5", "Type: epochs: {value: 3}"],
    VALID + "  batch: {vals: [16]}": ["line 5", "no key 'vals'", "Did you mean 'values'?"],
    VALID + "  batch: {values: []}": ["line 5", "at least one value"],
    VALID + "  drop:\n    min: 0.5\n    max: 0.1": ["line 6", "`min` must be below `max`: 0.5 is not below 0.1"],
    VALID + "  drop:\n    min: none\n    max: 0.1": ["line 6", "`min` must be a number, not 'none'"],
    VALID + "  drop: {min: 0.5}": ["line 5", "needs `max` too"],
    VALID + "  drop: {mu: 0.5}": ["line 5", "`distribution: normal` or `log_normal`"],
    VALID + "  drop: {min: 1, max: 3, q: 1}": ["line 5", "`distribution: q_uniform`"],
    VALID + "  wd: {distribution: log_unifrm_values, min: 1, max: 3}": ["Did you mean 'log_uniform_values'?"],
    VALID + "  wd: {distribution: log_uniform_values, min: 0, max: 3}": ["`min` of log_uniform_values must be above 0"],
    VALID + "  wd: {distribution: uniform, min: 0, max: 3, mu: 1}": ["`mu` does not belong to", "Keys: min, max"],
    VALID + "  wd: {distribution: int_uniform, min: 0.5, max: 3}": ["`min` and `max` of int_uniform must be integers"],
    VALID + "  a: {values: [1, 2], probabilities: [0.5, 0.6]}": ["the sum of `probabilities` must be 1, and is 1.1"],
    VALID + "  a: {values: [1, 2], probabilities: [1]}": ["a list of 2 numbers"],
    VALID + "  2x: {value: 1}": ["line 5", "'2x' is no name of a parameter"],
    VALID.replace("name: loss", "name: loss, goal: minimise"): ["line 2", "Did you mean 'minimize'?"],
    VALID.replace("name: loss", "goal: minimize"): ["line 2", "`metric` needs the `name`"],
    VALID + "early_terminate: {type: hyperband}": ["line 5", "needs `min_iter`, or `max_iter` and `s`"],
    VALID + "early_terminate: {type: median, min_iter: 3}": ["line 5", "`type: median` is unknown. Known: hyperband."],
    VALID + "early_terminate: {type: hyperband, max_iter: 2, s: 3, eta: 3}": ["make no band"],
    VALID + "early_terminate: {type: hyperband, min_iter: 2, eta: 1}": ["`eta` must be above 1"],
    VALID + "command: ['${interpreter}', '${arg}']": ["line 5", "`${arg}` is no macro", "Did you mean 'args'?"],
    VALID + "run_cap: 0": ["line 5", "`run_cap` must be at least 1, not 0"],
    VALID + "scheduler: {engine: ax}": ["line 5", "schedulers of your own are not supported"],
    "method: [": ["not valid YAML"],
    "": ["must be a mapping"],
}


def written(folder: Path, text: str, name: str = "sweep.yaml") -> Path:
    """A configuration in a file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_full_configuration_is_read(tmp_path: Path) -> None:
    """Every part of wandb's format is understood, nested parameters and YAML's `1e-5` included."""
    config = SweepConfig.read(written(tmp_path, FULL))
    assert (config.method, config.program, config.name, config.project) == ("bayes", "train.py", "widths", "vision")
    assert (config.run_cap, config.description) == (30, "how wide")
    assert config.objective is not None and config.early_terminate is not None
    assert (config.objective.goal, config.objective.target, config.objective.impute) == ("maximize", 0.99, "latest")
    assert (config.early_terminate.bands, config.early_terminate.strict) == ((3, 9), False)
    assert {parameter.name: parameter.distribution for parameter in config.parameters} == {
        "dropout": "categorical_w_probabilities", "epochs": "constant", "layers": "int_uniform",
        "lr": "log_uniform_values", "optimizer.momentum": "uniform", "optimizer.name": "categorical",
    }  # fmt: skip
    assert next(p for p in config.parameters if p.name == "lr").given["min"] == 1e-5


def test_a_json_file_and_a_mapping_are_the_same_configuration(tmp_path: Path) -> None:
    """JSON's numbers are numbers, and a program may give the configuration as a mapping."""
    given = {"method": "random", "parameters": {"lr": {"min": 1e-3, "max": 1}}}
    from_file = SweepConfig.read(written(tmp_path, json.dumps(given).replace("0.001", "1e-3"), "sweep.json"))
    assert from_file == SweepConfig.read(given)


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    """An error names the file, the line, the problem and the nearest right word."""
    with pytest.raises(SweepError) as caught:
        SweepConfig.read(written(tmp_path, text))
    assert str(caught.value).startswith("sweep.yaml")
    for part in WRONG[text]:
        assert part in str(caught.value)


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    """A configuration with three mistakes gives three lines."""
    text = VALID.replace("random", "rnd") + "  a: {vals: [1]}\nrun_cap: -1\n"
    with pytest.raises(SweepError) as caught:
        SweepConfig.read(written(tmp_path, text))
    assert len(str(caught.value).splitlines()) == 3


def test_a_missing_file_is_an_error() -> None:
    """The path is in the message."""
    with pytest.raises(SweepError, match="'nowhere.yaml' cannot be read"):
        SweepConfig.read("nowhere.yaml")


def command(*words: str, program: str = "train.py", **values: Any) -> list[str]:
    """A filled command."""
    return fill_command(words, program, values, {"n": values}, "args.json")


def test_macros_are_filled_in_as_by_wandbs_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every macro gives the arguments that wandb's own agent gives to the same parameters."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    monkeypatch.setenv("WIDTH", "8")
    values: dict[str, Any] = {"lr": 0.1, "on": True, "off": False, "name": "a b", "none": None}
    theirs = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    for macro in ("args", "args_no_equals", "args_no_hyphens", "args_no_boolean_flags",
                  "args_append_hydra", "args_override_hydra"):  # fmt: skip
        assert command(f"${{{macro}}}", **values) == theirs[macro]
    assert command("${args_json}", lr=0.1) == ['{"n": {"lr": 0.1}}']
    assert command("w${envvar:WIDTH}", "${envvar:UNSET}", "x") == ["w8", "UNSET", "x"]
    assert command(lr=0.1)[0] == "/usr/bin/env"
    assert command(lr=0.1)[2:] == ["train.py", "--lr=0.1"]


def test_a_command_without_a_program_is_an_error() -> None:
    """The default command needs `program`."""
    with pytest.raises(SweepError, match="has no `program`"):
        command(program="", lr=1)
