"""A search over learning rate, batch and augmentation, kept in the run's folder, so that it can be stopped anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from semblance.training.dataset.dataset import Dataset
from semblance.training.train import detector
from semblance.training.train.detector import Recipe, Tuned
from semblance.training.train.run import TUNING, Run, Step

TRIALS = "trials"

SHARE = 3
"""A trial lasts this share of the epochs: enough to tell sets apart, and no more."""


def best(
    run: Run,
    dataset: Dataset,
    recipe: Recipe,
    default: Tuned,
    count: int,
    say: Callable[[str], None],
    report: Callable[[str, Step], None],
) -> Tuned:
    """The best of `count` sets, of which the first is the default; those tried before the run was stopped count.

    Args:
        report: is told of each step, after the name of its trial.
    """
    # What ends a trial is raised; Optuna would print its traceback besides, that of Ctrl-C too.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=f"sqlite:///{(run.folder / TUNING).resolve()}",
        study_name="detector",
        direction="maximize",
        load_if_exists=True,
    )
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
        shutil.rmtree(run.folder / TRIALS / str(trial.number), ignore_errors=True)
    # Otherwise a resumed search would draw the same sets again.
    study.sampler = optuna.samplers.TPESampler(seed=recipe.seed + len(study.trials))
    if not study.get_trials(states=[TrialState.COMPLETE, TrialState.WAITING]):
        study.enqueue_trial(
            {
                "rate": default.rate,
                "batch": _nearest(default.batch),
                "mosaic": default.mosaic,
                "scale": default.scale,
                "degrees": default.degrees,
                "hsv_v": default.hsv_v,
            }
        )
    short = replace(recipe, epochs=max(1, recipe.epochs // SHARE))

    def value(trial: Trial) -> float:
        tuned = _suggested(trial, default.rate)
        folder = run.folder / TRIALS / str(trial.number)
        folder.mkdir(parents=True)
        shutil.copy(run.folder / detector.START, folder)
        name = f"trial {1 + len(study.get_trials(states=[TrialState.COMPLETE]))} of {count}"
        try:
            shown = partial(report, f"{name}, ")
            records = detector.train(Run(folder), dataset, short, tuned, shown, lambda _: None)
        finally:
            # Its records stay; networks of every trial would fill the disk.
            (folder / detector.START).unlink()
            shutil.rmtree(folder / detector.WORK, ignore_errors=True)
        reached = max(record["mAP50-95"] for record in records if record["epoch"])
        say(f"{name}: mAP50-95 {reached:.4f} with {_told(trial.params)}")
        return float(reached)

    left = count - len(study.get_trials(states=[TrialState.COMPLETE]))
    if left > 0:
        study.optimize(value, n_trials=left)
    say(f"the best of {count} trials: mAP50-95 {study.best_value:.4f} with {_told(study.best_trial.params)}")
    return _of(study.best_trial)


def _told(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in parameters.items())


BATCHES = (8, 16, 32)


def _nearest(batch: int) -> int:
    return min(BATCHES, key=lambda each: abs(each - batch))


def _suggested(trial: Trial, rate: float) -> Tuned:
    return Tuned(
        rate=trial.suggest_float("rate", rate / 5, rate * 5, log=True),
        batch=trial.suggest_categorical("batch", BATCHES),
        mosaic=trial.suggest_float("mosaic", 0.0, 1.0),
        scale=trial.suggest_float("scale", 0.1, 0.6),
        degrees=trial.suggest_float("degrees", 0.0, 30.0),
        hsv_v=trial.suggest_float("hsv_v", 0.2, 0.6),
    )


def _of(trial: FrozenTrial) -> Tuned:
    return Tuned(**trial.params)
