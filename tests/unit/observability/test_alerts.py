"""What the committed rules say, by promtool, of a service that is well and of one that is not."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from semblance.observability import generated
from semblance.observability.alert import Alert
from semblance.observability.alerts import ALERTS
from tests.prometheus import program

ROOT = Path(__file__).resolve().parents[3]
# Minutes after which the alerts are looked at, of as many samples.
EVALUATED = 45
# Promtool's `a+bxn` is n samples after a, each greater by b; `axn` are n after a that are a.
SAMPLES = f"x{EVALUATED}"
ORCHESTRATOR = {"job": "semblance", "instance": "a:9464"}
SEARCH = 'method="semblance.v1.SearchService/Search"'

Series = Mapping[str, str]


def steady(value: float) -> str:
    return f"{value}+0{SAMPLES}"


def growing(each_minute: float) -> str:
    return f"0+{each_minute}{SAMPLES}"


@dataclass(frozen=True)
class Case:
    """Samples of series, the labels of the alert that they raise, and its summary."""

    series: Series
    labels: Mapping[str, str]
    summary: str


WELL: Series = {
    'up{job="semblance",instance="a:9464"}': steady(1),
    'up{job="triton",instance="t:8002"}': steady(1),
    'semblance_service_serving{service="semblance.v1.SearchService",job="semblance",instance="a:9464"}': steady(1),
    'semblance_dependency_available{dependency="Milvus",job="semblance",instance="a:9464"}': steady(1),
    'semblance_requests_total{status="OK"}': growing(990),
    'semblance_requests_total{status="UNAVAILABLE"}': growing(5),
    'semblance_requests_total{status="RESOURCE_EXHAUSTED"}': growing(5),
    'semblance_release_problem{release="r1",job="semblance",instance="a:9464"}': steady(0),
    'semblance_keeper{job="semblance",instance="a:9464"}': steady(1),
    'semblance_keeper{job="semblance",instance="b:9464"}': steady(0),
    f'semblance_request_duration_seconds_bucket{{{SEARCH},le="0.1"}}': growing(100),
    f'semblance_request_duration_seconds_bucket{{{SEARCH},le="+Inf"}}': growing(100),
    # A release that is building has much to do, and the active one is settled now and then.
    'semblance_release_unsettled_items{release="r2",job="semblance",instance="a:9464"}': steady(1000),
    'semblance_release_unsettled_items{release="r1",job="semblance",instance="a:9464"}': f"1x20 0 1x{EVALUATED - 21}",
    'semblance_release_traffic_percent{release="r1",role="active",job="semblance",instance="a:9464"}': steady(100),
    'semblance_transport_inputs_total{server="Triton",way="shared_memory"}': growing(95),
    'semblance_transport_inputs_total{server="Triton",way="bytes_ring_full"}': growing(5),
    # Not meant to go in shared memory.
    'semblance_transport_inputs_total{server="far away",way="bytes"}': growing(100),
    'process_start_time_seconds{job="semblance",instance="a:9464"}': f"1x40 2x{EVALUATED - 40}",
    'process_open_fds{job="semblance",instance="a:9464"}': steady(50),
    'process_max_fds{job="semblance",instance="a:9464"}': steady(100),
    'nv_inference_request_failure{model="embedder",reason="BACKEND"}': steady(7),
    'nv_inference_request_failure{model="embedder",reason="CANCELED"}': growing(60),
    'nv_inference_queue_duration_us{model="embedder"}': growing(60e3),
    'nv_inference_request_success{model="embedder"}': growing(60),
    'nv_gpu_memory_used_bytes{gpu_uuid="GPU-1"}': steady(50),
    'nv_gpu_memory_total_bytes{gpu_uuid="GPU-1"}': steady(100),
    'milvus_proxy_sq_latency_bucket{query_type="search",le="10"}': growing(100),
    'milvus_proxy_sq_latency_bucket{query_type="search",le="+Inf"}': growing(100),
}

RAISED = {
    "SemblanceDown": Case(
        {'up{job="semblance",instance="a:9464"}': steady(0)},
        ORCHESTRATOR,
        "The orchestrator at a:9464 tells no metrics.",
    ),
    "SemblanceNotServing": Case(
        {'semblance_service_serving{service="S",job="semblance",instance="a:9464"}': steady(0)},
        ORCHESTRATOR | {"service": "S"},
        "S of a:9464 is NOT_SERVING.",
    ),
    "SemblanceDependencyUnavailable": Case(
        {'semblance_dependency_available{dependency="Milvus",job="semblance",instance="a:9464"}': steady(0)},
        ORCHESTRATOR | {"dependency": "Milvus"},
        "Milvus is unavailable to a:9464; calls that need it fail at once.",
    ),
    "SemblanceFailing": Case(
        {
            'semblance_requests_total{status="OK"}': growing(97),
            'semblance_requests_total{status="UNAVAILABLE"}': growing(2),
            'semblance_requests_total{status="INTERNAL"}': growing(1),
        },
        {},
        "3% of the requests fail by no fault of their callers.",
    ),
    "SemblanceReleaseProblem": Case(
        {'semblance_release_problem{release="r2",job="semblance",instance="a:9464"}': steady(1)},
        {"release": "r2"},
        "Requests of release r2 are refused, or its build does not get on.",
    ),
    "SemblanceNoKeeper": Case(
        {'semblance_keeper{instance="a:9464"}': steady(0), 'semblance_keeper{instance="b:9464"}': steady(0)},
        {},
        "No orchestrator keeps models, collections and builds.",
    ),
    "SemblanceRefusing": Case(
        {
            'semblance_requests_total{status="OK"}': growing(90),
            'semblance_requests_total{status="RESOURCE_EXHAUSTED"}': growing(10),
        },
        {},
        "10% of the requests are refused.",
    ),
    "SemblanceSlow": Case(
        {
            f'semblance_request_duration_seconds_bucket{{{SEARCH},le="1"}}': steady(0),
            f'semblance_request_duration_seconds_bucket{{{SEARCH},le="5"}}': growing(100),
            f'semblance_request_duration_seconds_bucket{{{SEARCH},le="+Inf"}}': growing(100),
        },
        {},
        "The 99th percentile of searches is 4.96s.",
    ),
    "SemblanceUnsettled": Case(
        {
            'semblance_release_unsettled_items{release="r1",job="semblance",instance="a:9464"}': steady(2),
            'semblance_release_traffic_percent{release="r1",role="active",job="semblance",instance="b:9464"}': steady(
                90
            ),
        },
        ORCHESTRATOR | {"release": "r1"},
        "Release r1 has had unsettled items for half an hour.",
    ),
    "SemblanceSharedMemoryMissed": Case(
        {
            'semblance_transport_inputs_total{server="Triton",way="shared_memory"}': growing(50),
            'semblance_transport_inputs_total{server="Triton",way="bytes_ring_full"}': growing(50),
        },
        {"server": "Triton"},
        "Only 50% of the inputs of Triton go in shared memory.",
    ),
    "SemblanceRestarting": Case(
        {'process_start_time_seconds{job="semblance",instance="a:9464"}': f"1x36 2 3 4x{EVALUATED - 38}"},
        ORCHESTRATOR,
        "The orchestrator at a:9464 was started 3 times in 15 minutes.",
    ),
    "SemblanceFewFilesLeft": Case(
        {
            'process_open_fds{job="semblance",instance="a:9464"}': steady(90),
            'process_max_fds{job="semblance",instance="a:9464"}': steady(100),
        },
        ORCHESTRATOR,
        "The orchestrator at a:9464 has 90% of its files open.",
    ),
    "PartDown": Case(
        {'up{job="triton",instance="t:8002"}': steady(0)},
        {"job": "triton", "instance": "t:8002"},
        "triton at t:8002 tells no metrics.",
    ),
    "TritonFailing": Case(
        {'nv_inference_request_failure{model="embedder",reason="BACKEND"}': growing(60)},
        {"model": "embedder"},
        "embedder fails 1 inferences a second.",
    ),
    "TritonQueueing": Case(
        {
            'nv_inference_queue_duration_us{model="embedder"}': growing(60e6),
            'nv_inference_request_success{model="embedder"}': growing(60),
        },
        {"model": "embedder"},
        "Requests of embedder wait 1s in Triton's queue.",
    ),
    "GpuMemoryFull": Case(
        {
            'nv_gpu_memory_used_bytes{gpu_uuid="GPU-1"}': steady(97),
            'nv_gpu_memory_total_bytes{gpu_uuid="GPU-1"}': steady(100),
        },
        {"gpu_uuid": "GPU-1"},
        "97% of the memory of GPU-1 is taken.",
    ),
    "MilvusSlow": Case(
        {
            'milvus_proxy_sq_latency_bucket{query_type="search",le="500"}': steady(0),
            'milvus_proxy_sq_latency_bucket{query_type="search",le="1000"}': growing(100),
            'milvus_proxy_sq_latency_bucket{query_type="search",le="+Inf"}': growing(100),
        },
        {},
        "The 99th percentile of searches in Milvus is 995ms.",
    ),
}


def judged(folder: Path, series: Series, expected: Mapping[str, Sequence[Mapping[str, object]]]) -> tuple[int, str]:
    """Promtool's status and words on whether these alerts, and no others of their names, are raised by the series."""
    tests = {
        "rule_files": [str(ROOT / "deploy" / generated.ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {"eval_time": f"{EVALUATED}m", "alertname": name, "exp_alerts": list(alerts)}
                    for name, alerts in expected.items()
                ],
            }
        ],
    }
    file = folder / "tests.yml"
    file.write_text(yaml.safe_dump(tests))
    done = subprocess.run([program("promtool"), "test", "rules", file], text=True, capture_output=True)
    return done.returncode, done.stdout + done.stderr


def test_a_service_that_is_well_raises_nothing(tmp_path: Path) -> None:
    status, said = judged(tmp_path, WELL, {each.name: [] for each in ALERTS})
    assert status == 0, said


@pytest.mark.parametrize("each", ALERTS, ids=lambda each: each.name)
def test_an_alert_is_raised_and_says_what_is_wrong(each: Alert, tmp_path: Path) -> None:
    case = RAISED[each.name]
    expected = {
        "exp_labels": {**case.labels, "severity": each.severity},
        "exp_annotations": {"summary": case.summary, "runbook_url": each.runbook},
    }
    status, said = judged(tmp_path, case.series, {each.name: [expected]})
    assert status == 0, said
