"""What the gateway has answered, counted as it answers; for Prometheus.

Labels are of a fixed number whatever clients send: the route is the path as the API names it, and methods that HTTP
does not know are one.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# From what the gateway answers by itself (a millisecond) to the upload of some gigabytes.
_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)


class HttpMetrics:
    """Counts every request's end; a `waybill.gateway.server.request_log.Watcher`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # Each series would come with a second one that says when it began; nobody reads those.
        disable_created_metrics()
        self._requests = Counter(
            "waybill_http_requests", "Requests answered; status 499: the client left before the answer began.",
            ("method", "route", "status"), registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "waybill_http_request_seconds", "From the request's head to the last byte of its answer.",
            ("method", "route"), buckets=_BUCKETS_SECONDS, registry=registry,
        )  # fmt: skip
        self._bytes_sent = Counter(
            "waybill_http_response_bytes", "Bytes of bodies sent.", ("route",), registry=registry
        )

    def __call__(self, *, method: str, route: str, status: int, seconds: float, bytes_sent: int) -> None:
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)
        self._bytes_sent.labels(route).inc(bytes_sent)
