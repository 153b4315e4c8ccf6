"""`deploy/prometheus/prometheus.yml` for a Prometheus that scrapes something else than its containers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml


def retargeted(configuration: Path, targets: Mapping[str, str], rules: Path, interval: str) -> str:
    """The same configuration in YAML, but that each job scrapes its target of `targets`, as often as `interval`.

    Raises:
        ValueError: its jobs are others than those of `targets`.
    """
    settings = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job for job in settings["scrape_configs"]}
    if jobs.keys() != targets.keys():
        raise ValueError(f"{configuration} scrapes {', '.join(jobs)}; expected {', '.join(targets)}")
    for name, target in targets.items():
        jobs[name]["static_configs"] = [{"targets": [target]}]
    settings["global"] |= {"scrape_interval": interval, "evaluation_interval": interval}
    settings["rule_files"] = [str(rules)]
    return yaml.safe_dump(settings, sort_keys=False)
