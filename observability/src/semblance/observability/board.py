"""What the dashboard shows: `deploy/grafana/dashboards/semblance.json` is rendered from it."""

from __future__ import annotations

from semblance.observability import grafana
from semblance.observability.expression import RATE_INTERVAL
from semblance.observability.panel import Panel, Query, Row

TITLE, UID = "Semblance", "semblance"

SEARCHES = 'method=~".*/(Search|SearchStream|ModelInfer|ModelStreamInfer)"'
# By no fault of the caller, nor for want of room.
FAULTS = 'status=~"UNAVAILABLE|INTERNAL|FAILED_PRECONDITION|UNKNOWN"'
REFUSED = 'status="RESOURCE_EXHAUSTED"'
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def rate(metric: str, labels: str = "") -> str:
    return f"rate({metric}{{{labels}}}[{RATE_INTERVAL}])" if labels else f"rate({metric}[{RATE_INTERVAL}])"


def rate_by(by: str, metric: str, labels: str = "") -> str:
    return f"sum by ({by}) ({rate(metric, labels)})"


def quantile(share: float, histogram: str, labels: str = "", by: str = "") -> str:
    return f"histogram_quantile({share}, {rate_by(f'le, {by}' if by else 'le', f'{histogram}_bucket', labels)})"


def mean(by: str, total: str, count: str) -> str:
    return f"{rate_by(by, total)} / {rate_by(by, count)}"


REQUESTS, DURATION, STAGE = (
    "semblance_requests_total",
    "semblance_request_duration_seconds",
    "semblance_stage_duration_seconds",
)

GOLDEN = Row(
    "Golden signals",
    (
        Panel("Requests by method", "reqps", (Query(rate_by("method", REQUESTS), "{{method}}"),), stacked=True),
        Panel("Requests by status", "reqps", (Query(rate_by("status", REQUESTS), "{{status}}"),), stacked=True),
        Panel("Requests by caller", "reqps", (Query(rate_by("caller", REQUESTS), "{{caller}}"),), stacked=True),
        Panel(
            "Failed and refused",
            "percentunit",
            (
                Query(f"sum({rate(REQUESTS, FAULTS)}) / sum({rate(REQUESTS)})", "failed by no fault of the caller"),
                Query(
                    f"sum({rate(REQUESTS, REFUSED)}) / sum({rate(REQUESTS)})",
                    "refused for want of room, or over a caller's rate",
                ),
            ),
        ),
        Panel(
            "Failures by reason",
            "reqps",
            (Query(rate_by("reason", "semblance_request_failures_total"), "{{reason}}"),),
            "The reason in google.rpc.ErrorInfo; callers' own mistakes, such as INVALID_IMAGE, count too.",
            stacked=True,
        ),
        Panel(
            "Searches' latency",
            "s",
            tuple(Query(quantile(share, DURATION, SEARCHES), name) for name, share in QUANTILES.items()),
        ),
        Panel(
            "p99 by method and release",
            "s",
            (Query(quantile(0.99, DURATION, by="method, release"), "{{method}} {{release}}"),),
        ),
        Panel(
            "CPU of the orchestrator",
            "none",
            (Query(rate("process_cpu_seconds_total", 'job="semblance"'), "cores {{instance}}"),),
        ),
        Panel(
            "Memory of the orchestrator",
            "bytes",
            (Query('process_resident_memory_bytes{job="semblance"}', "{{instance}}"),),
        ),
    ),
)

STAGES = Row(
    "Where the time of a search goes",
    (
        Panel(
            "Mean of each stage",
            "s",
            (Query(mean("stage", f"{STAGE}_sum", f"{STAGE}_count"), "{{stage}}"),),
            "Together all of an answered search. detect and embed hold the waiting in Triton's queue.",
            stacked=True,
        ),
        Panel("p99 of each stage", "s", (Query(quantile(0.99, STAGE, by="stage"), "{{stage}}"),)),
        Panel(
            "Photos at the threads",
            "none",
            (
                Query("sum(semblance_pixel_jobs)", "decoded or cropped, or waiting for it"),
                Query("sum(semblance_pixel_threads)", "threads"),
            ),
        ),
        Panel(
            "Models' inputs by way",
            "cps",
            (Query(rate_by("way", "semblance_transport_inputs_total"), "{{way}}"),),
            "In shared memory, or in bytes and why.",
            stacked=True,
        ),
        Panel(
            "Slots of shared memory",
            "none",
            (
                Query("sum by (server) (semblance_transport_slots)", "{{server}}"),
                Query("sum by (server) (semblance_transport_free_slots)", "free {{server}}"),
            ),
        ),
    ),
)

ADMISSION = Row(
    "Admission, limit and breakers",
    (
        Panel(
            "In flight",
            "none",
            (
                Query("sum by (lane) (semblance_admission_in_flight)", "{{lane}}"),
                Query("sum(semblance_admission_limit)", "limit of searches and puts"),
            ),
        ),
        Panel("Waiting", "none", (Query("sum by (lane) (semblance_admission_waiting)", "{{lane}}"),)),
        Panel(
            "Not admitted",
            "reqps",
            (Query(rate_by("lane, reason", "semblance_admission_refused_total"), "{{lane}}: {{reason}}"),),
            stacked=True,
        ),
        Panel(
            "Breakers",
            "none",
            (Query("min by (dependency) (semblance_dependency_available)", "{{dependency}}"),),
            "1 where calls are made, 0 where they fail at once until a probe succeeds.",
        ),
        Panel(
            "Failed calls and probes",
            "cps",
            (Query(rate_by("dependency, kind", "semblance_dependency_failures_total"), "{{dependency}}: {{kind}}"),),
        ),
        Panel("Health", "none", (Query("min by (service) (semblance_service_serving)", "{{service}}"),)),
    ),
)

RELEASES = Row(
    "Releases side by side",
    (
        Panel(
            "Releases",
            "none",
            (
                Query(
                    "max by (release, state, detector, embedder) (semblance_release_info)",
                    "{{release}}: {{state}}, {{detector}}, {{embedder}}",
                ),
            ),
        ),
        Panel(
            "Part of the searches",
            "percent",
            (Query("avg by (release, role) (semblance_release_traffic_percent)", "{{release}}: {{role}}"),),
            "Of an active release and a canary, those that they serve; of a shadow, those that it gets copies of. "
            "A canary of named callers has none by share.",
        ),
        Panel(
            "Requests by release",
            "reqps",
            (Query(rate_by("release", REQUESTS, 'release!=""'), "{{release}}"),),
            stacked=True,
        ),
        Panel(
            "Latency of searches",
            "s",
            tuple(
                Query(quantile(share, DURATION, SEARCHES, by="release"), f"{name} {{{{release}}}}")
                for name, share in QUANTILES.items()
                if name != "p90"
            ),
        ),
        Panel(
            "Not answered",
            "reqps",
            (Query(rate_by("release, status", REQUESTS, 'release!="", status!="OK"'), "{{release}}: {{status}}"),),
        ),
        Panel(
            "Copies to a shadow",
            "reqps",
            (Query(rate_by("release, outcome", "semblance_shadow_copies_total"), "{{release}}: {{outcome}}"),),
        ),
        Panel(
            "Unsettled items",
            "none",
            (Query("max by (release) (semblance_release_unsettled_items)", "{{release}}"),),
            "Of a release that is building, what is still to be indexed; of others, what is being mended.",
        ),
        Panel(
            "Speed of builds",
            "cps",
            (Query("max by (release) (semblance_release_build_items_per_second)", "{{release}}"),),
            "Items a second.",
        ),
        Panel(
            "Builds are done in",
            "s",
            (
                Query(
                    "max by (release) (semblance_release_unsettled_items)"
                    " / max by (release) (semblance_release_build_items_per_second)",
                    "{{release}}",
                ),
            ),
        ),
        Panel(
            "Problems",
            "none",
            (
                Query("max by (release) (semblance_release_problem)", "{{release}}"),
                Query("sum(semblance_keeper)", "keepers"),
            ),
            "1 where a release's requests are refused, or its build does not get on. There should be one keeper.",
        ),
    ),
)

FEEDBACK = Row(
    "Feedback",
    (
        Panel("Verdicts", "reqps", (Query(rate_by("kind", "semblance_verdicts_total"), "{{kind}}"),)),
        Panel(
            "Suspicious answers",
            "reqps",
            (Query(rate_by("outcome", "semblance_suspects_total"), "{{outcome}}"),),
            "Those that were sampled. None where SEMBLANCE_SUSPECT_SHARE is 0.",
        ),
    ),
)

MODEL = "model, version"

TRITON = Row(
    "Triton",
    (
        Panel(
            "Inferences",
            "reqps",
            (Query(rate_by(MODEL, "nv_inference_request_success"), "{{model}}:{{version}}"),),
        ),
        Panel(
            "Queue time of a request",
            "µs",
            (
                Query(
                    mean(MODEL, "nv_inference_queue_duration_us", "nv_inference_request_success"),
                    "{{model}}:{{version}}",
                ),
            ),
        ),
        Panel(
            "Compute time of a request",
            "µs",
            (
                Query(
                    mean(MODEL, "nv_inference_compute_infer_duration_us", "nv_inference_request_success"),
                    "{{model}}:{{version}}",
                ),
            ),
        ),
        Panel(
            "Batch size",
            "none",
            (Query(mean(MODEL, "nv_inference_count", "nv_inference_exec_count"), "{{model}}:{{version}}"),),
        ),
        Panel(
            "Waiting at Triton",
            "none",
            (Query(f"sum by ({MODEL}) (nv_inference_pending_request_count)", "{{model}}:{{version}}"),),
        ),
        Panel(
            "Failed inferences",
            "reqps",
            (Query(rate_by("model, reason", "nv_inference_request_failure"), "{{model}}: {{reason}}"),),
        ),
        Panel(
            "CPU of Triton's host",
            "percentunit",
            (Query("nv_cpu_utilization", "{{instance}}"),),
        ),
        Panel(
            "Memory of Triton's host",
            "bytes",
            (Query("nv_cpu_memory_used_bytes", "used"), Query("nv_cpu_memory_total_bytes", "total")),
        ),
    ),
)

GPU = Row(
    "GPU (not seen by this project's checks, whose hosts have none)",
    (
        Panel("GPU utilisation", "percentunit", (Query("nv_gpu_utilization", "{{gpu_uuid}}"),)),
        Panel(
            "GPU memory",
            "bytes",
            (
                Query("nv_gpu_memory_used_bytes", "used {{gpu_uuid}}"),
                Query("nv_gpu_memory_total_bytes", "total {{gpu_uuid}}"),
            ),
        ),
        Panel("GPU power", "watt", (Query("nv_gpu_power_usage", "{{gpu_uuid}}"),)),
    ),
)

MILVUS_SEARCH = 'query_type="search"'

MILVUS = Row(
    "Milvus",
    (
        Panel(
            "Searches in Milvus",
            "reqps",
            (Query(rate_by("query_type", "milvus_proxy_sq_latency_count"), "{{query_type}}"),),
        ),
        Panel(
            "Latency of searches in Milvus",
            "ms",
            tuple(
                Query(quantile(share, "milvus_proxy_sq_latency", MILVUS_SEARCH), name)
                for name, share in QUANTILES.items()
            ),
        ),
        Panel(
            "p99 of waiting in Milvus",
            "ms",
            (Query(quantile(0.99, "milvus_querynode_sq_queue_latency", MILVUS_SEARCH), "p99"),),
        ),
        Panel(
            "Calls that failed in Milvus",
            "reqps",
            (Query(rate_by("function_name", "milvus_proxy_req_count", 'status="fail"'), "{{function_name}}"),),
        ),
        Panel(
            "Rows loaded",
            "none",
            (Query("sum by (collection_id) (milvus_querynode_entity_num)", "{{collection_id}}"),),
        ),
        Panel("Memory of Milvus", "bytes", (Query('process_resident_memory_bytes{job="milvus"}', "{{instance}}"),)),
    ),
)

ROWS = (GOLDEN, STAGES, ADMISSION, RELEASES, FEEDBACK, TRITON, GPU, MILVUS)


def render() -> str:
    return grafana.render(TITLE, UID, ROWS)
