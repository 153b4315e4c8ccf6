"""When somebody is told: the rules in `deploy/` are rendered from it; docs/alerts.md says what to do."""

from __future__ import annotations

from semblance.observability import alert
from semblance.observability.alert import Alert
from semblance.observability.board import FAULTS, MILVUS_SEARCH, REFUSED, SEARCHES

GROUP = "semblance"


def rate(metric: str, labels: str = "") -> str:
    """Over five minutes: long enough for a share of a few requests a second to mean something."""
    return f"rate({metric}{{{labels}}}[5m])" if labels else f"rate({metric}[5m])"


def share(metric: str, labels: str, by: str = "") -> str:
    of = f" by ({by}) " if by else ""
    return f"sum{of}({rate(metric, labels)}) / sum{of}({rate(metric)})"


ALERTS = (
    Alert(
        "SemblanceDown",
        'up{job="semblance"}',
        "== 0",
        "1m",
        "critical",
        "The orchestrator at {{ $labels.instance }} tells no metrics.",
    ),
    Alert(
        "SemblanceNotServing",
        'semblance_service_serving{service!="liveness"}',
        "== 0",
        "1m",
        "critical",
        "{{ $labels.service }} of {{ $labels.instance }} is NOT_SERVING.",
    ),
    Alert(
        "SemblanceDependencyUnavailable",
        "semblance_dependency_available",
        "== 0",
        "1m",
        "critical",
        "{{ $labels.dependency }} is unavailable to {{ $labels.instance }}; calls that need it fail at once.",
    ),
    Alert(
        "SemblanceFailing",
        share("semblance_requests_total", FAULTS),
        "> 0.01",
        "5m",
        "critical",
        "{{ $value | humanizePercentage }} of the requests fail by no fault of their callers.",
    ),
    Alert(
        "SemblanceReleaseProblem",
        "max by (release) (semblance_release_problem)",
        "> 0",
        "2m",
        "critical",
        "Requests of release {{ $labels.release }} are refused, or its build does not get on.",
    ),
    Alert(
        "SemblanceNoKeeper",
        "sum(semblance_keeper)",
        "< 1",
        "1m",
        "critical",
        "No orchestrator keeps models, collections and builds.",
    ),
    Alert(
        "SemblanceRefusing",
        share("semblance_requests_total", REFUSED),
        "> 0.05",
        "5m",
        "warning",
        "{{ $value | humanizePercentage }} of the requests are refused.",
    ),
    Alert(
        "SemblanceSlow",
        "histogram_quantile(0.99, sum by (le) (" + rate("semblance_request_duration_seconds_bucket", SEARCHES) + "))",
        "> 1",
        "10m",
        "warning",
        "The 99th percentile of searches is {{ $value | humanizeDuration }}.",
    ),
    Alert(
        "SemblanceUnsettled",
        "(min_over_time(semblance_release_unsettled_items[30m])"
        ' and on (release) semblance_release_traffic_percent{role="active"})',
        "> 0",
        "5m",
        "warning",
        "Release {{ $labels.release }} has had unsettled items for half an hour.",
    ),
    Alert(
        "SemblanceSharedMemoryMissed",
        share("semblance_transport_inputs_total", 'way="shared_memory"', "server"),
        "< 0.9",
        "10m",
        "warning",
        "Only {{ $value | humanizePercentage }} of the inputs of {{ $labels.server }} go in shared memory.",
    ),
    Alert(
        "SemblanceRestarting",
        'changes(process_start_time_seconds{job="semblance"}[15m])',
        "> 2",
        "0m",
        "warning",
        "The orchestrator at {{ $labels.instance }} was started {{ $value }} times in 15 minutes.",
    ),
    Alert(
        "SemblanceFewFilesLeft",
        'process_open_fds{job="semblance"} / process_max_fds{job="semblance"}',
        "> 0.8",
        "5m",
        "warning",
        "The orchestrator at {{ $labels.instance }} has {{ $value | humanizePercentage }} of its files open.",
    ),
    Alert(
        "PartDown",
        'up{job=~"triton|milvus"}',
        "== 0",
        "2m",
        "warning",
        "{{ $labels.job }} at {{ $labels.instance }} tells no metrics.",
    ),
    Alert(
        "TritonFailing",
        "sum by (model) (" + rate("nv_inference_request_failure", 'reason!="CANCELED"') + ")",
        "> 0",
        "5m",
        "warning",
        "{{ $labels.model }} fails {{ $value | humanize }} inferences a second.",
    ),
    Alert(
        "TritonQueueing",
        "sum by (model) ("
        + rate("nv_inference_queue_duration_us")
        + ") / sum by (model) ("
        + rate("nv_inference_request_success")
        + ") / 1e6",
        "> 0.5",
        "10m",
        "warning",
        "Requests of {{ $labels.model }} wait {{ $value | humanizeDuration }} in Triton's queue.",
    ),
    Alert(
        "GpuMemoryFull",
        "nv_gpu_memory_used_bytes / nv_gpu_memory_total_bytes",
        "> 0.95",
        "10m",
        "warning",
        "{{ $value | humanizePercentage }} of the memory of {{ $labels.gpu_uuid }} is taken.",
    ),
    Alert(
        "MilvusSlow",
        "histogram_quantile(0.99, sum by (le) (" + rate("milvus_proxy_sq_latency_bucket", MILVUS_SEARCH) + ")) / 1e3",
        "> 0.5",
        "10m",
        "warning",
        "The 99th percentile of searches in Milvus is {{ $value | humanizeDuration }}.",
    ),
)


def render() -> str:
    return alert.render(GROUP, ALERTS)


def render_resource() -> str:
    """For Kubernetes."""
    return alert.render_resource(GROUP, ALERTS)
