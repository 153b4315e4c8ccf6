"""A search over learning rate, batch and augmentation, kept in the run's folder, so that it can be stopped anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from semblance.training.dataset.dataset import Dataset
from semblance.training.train import detector
from semblance.training.train.detector import Recipe, Tuned
from semblance.training.train.run import Run

STUDY = "tuning.db"
TRIALS = "trials"

SHARE = 3
"""A trial lasts this share of the epochs: enough to tell sets apart, and no more."""


def best(run: Run, dataset: Dataset, recipe: Recipe, default: Tuned, count: int, say: Callable[[str], None]) -> Tuned:
    """The best of `count` sets, of which the first is the default; those tried before the run was stopped count."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{(run.folder / STUDY).resolve()}",
        study_name="detector",
        direction="maximize",
        load_if_exists=True,
    )
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
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
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy(run.folder / detector.START, folder)
        records = detector.train(Run(folder), dataset, short, tuned, lambda _: None, lambda _: None)
        reached = max(record["mAP50-95"] for record in records if record["epoch"])
        say(f"trial {trial.number}: mAP50-95 {reached:.4f} with {trial.params}")
        shutil.rmtree(folder / detector.WORK)
        return float(reached)

    left = count - len(study.get_trials(states=[TrialState.COMPLETE]))
    if left > 0:
        study.optimize(value, n_trials=left)
    say(f"best of {count} trials: {study.best_trial.number}, mAP50-95 {study.best_value:.4f}")
    return _of(study.best_trial)


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
