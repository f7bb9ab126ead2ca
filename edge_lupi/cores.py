"""Cores that this process may use: fewer than the machine has, where it is pinned (taskset, a container's cpuset). -> int."""

from __future__ import annotations

import os

__all__ = ["usable_cores"]


def usable_cores() -> int:
    """At least 1. Threads beyond it wait for each other: two on one core made a training fifty times as slow."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
