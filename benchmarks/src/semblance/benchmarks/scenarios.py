"""How each kind of scenario is measured: a row for each of its settings, against a running service."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from semblance.benchmarks import bare, input_data, load, search_load, stages, sweep
from semblance.benchmarks.experiment import Experiment
from semblance.benchmarks.reading import Reading
from semblance.benchmarks.result import Latency, Row
from semblance.benchmarks.scenario import (
    ChainScenario,
    IngestScenario,
    MilvusScenario,
    ModelScenario,
    NativeScenario,
    Scenario,
)
from semblance.benchmarks.stack import Stack
from semblance.export.contract import CONTRACTS


def measure(scenario: Scenario, experiment: Experiment, service: Stack) -> Iterator[Row]:
    """`service` runs with the models that the scenario names."""
    match scenario:
        case ModelScenario():
            return _model(scenario, experiment, service)
        case ChainScenario():
            return _chain(scenario, experiment, service)
        case NativeScenario():
            return _native(scenario, experiment, service)
        case IngestScenario():
            return _ingest(scenario, experiment, service)
        case MilvusScenario():
            return _milvus(scenario, service)


def _model(scenario: ModelScenario, experiment: Experiment, service: Stack) -> Iterator[Row]:
    inputs = bare.Inputs.of(experiment.world.photos, service.target)
    data = experiment.folder / f"{scenario.name}.json"
    tensor = CONTRACTS[scenario.model].input.name
    sweep.write_rows(inputs.letterboxed if scenario.model == "detector" else inputs.crops, tensor, data)
    for transport, batch, in_flight in itertools.product(scenario.transports, scenario.batches, scenario.in_flight):
        shared = "system" if transport == "shared_memory" else "none"
        arguments = ["-b", str(batch), "--concurrency-range", str(in_flight), "--shared-memory", shared]
        before = Reading.of(service)
        swept = sweep.run(scenario.model, service.triton, data, scenario.seconds, arguments, experiment.folder)
        spent = Reading.of(service).since(before)
        requests = spent.triton[scenario.model]
        yield Row(
            {"transport": transport, "batch": batch, "in flight": in_flight},
            swept.rate,
            swept.latency,
            stages.of_model(swept.latency.mean, requests),
            spent.cpu_each(requests.count),
            spent.shares,
            swept.note,
        )


def _chain(scenario: ChainScenario, experiment: Experiment, service: Stack) -> Iterator[Row]:
    data = experiment.folder / f"{scenario.name}.json"
    input_data.write(experiment.world.files, data)

    def row(load_name: str, level: float, arguments: list[str]) -> Row:
        before = Reading.of(service)
        swept = sweep.run(stages.SEARCH, service.target, data, scenario.seconds, arguments, experiment.folder)
        spent = Reading.of(service).since(before)
        parts = stages.of_chain(swept.latency.mean, spent)
        cpu = spent.cpu_each(spent.service[stages.SEARCH].count)
        return Row({"load": load_name, "level": level}, swept.rate, swept.latency, parts, cpu, spent.shares, swept.note)

    saturated = 0.0
    for in_flight in scenario.in_flight:
        measured = row("closed", in_flight, ["--concurrency-range", str(in_flight)])
        saturated = max(saturated, measured.rate)
        yield measured
    for share in scenario.load:
        rate = ["--request-rate-range", f"{share * saturated:.2f}", "--request-distribution", "poisson", "--async"]
        yield row("poisson", share, rate)


def _native(scenario: NativeScenario, experiment: Experiment, service: Stack) -> Iterator[Row]:
    for calls, in_flight in itertools.product(scenario.calls, scenario.in_flight):
        loaded = load.search(
            service, experiment.world.photos, in_flight=in_flight, seconds=scenario.seconds, calls=calls
        )
        latency = Latency.of(loaded.latencies)
        parts = stages.of_chain(latency.mean, loaded.spent)
        yield Row(
            {"calls": calls, "in flight": in_flight}, loaded.rate, latency, parts, loaded.cpu_each, loaded.spent.shares
        )


def _ingest(scenario: IngestScenario, experiment: Experiment, service: Stack) -> Iterator[Row]:
    for turn, in_flight in enumerate(scenario.in_flight):
        loaded = load.put(service, experiment.world.photos, in_flight=in_flight, seconds=scenario.seconds, turn=turn)
        latency = Latency.of(loaded.latencies)
        parts = stages.of_put(latency.mean, loaded.spent)
        yield Row({"in flight": in_flight}, loaded.rate, latency, parts, loaded.cpu_each, loaded.spent.shares)


def _milvus(scenario: MilvusScenario, service: Stack) -> Iterator[Row]:
    for rows in scenario.rows:
        with search_load.filled(service.milvus, rows) as collection:
            for in_flight in scenario.in_flight:
                before = Reading.of(service)
                latencies, seconds = search_load.run(collection, in_flight, scenario.seconds)
                spent = Reading.of(service).since(before)
                latency = Latency.of(latencies)
                parts = stages.Stages(search=latency.mean)
                rate, cpu = len(latencies) / seconds, spent.cpu_each(len(latencies))
                yield Row({"rows": rows, "in flight": in_flight}, rate, latency, parts, cpu, spent.shares)
