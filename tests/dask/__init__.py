"""A real Dask cluster for tests: scheduler and workers as processes on this machine."""

from tests.dask.cluster import Cluster, dask_packages, running_cluster

__all__ = ["Cluster", "dask_packages", "running_cluster"]
