"""The number of CPU cores that this process may use: those of its container, not of the machine."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["usable_cores"]


def usable_cores(root: Path = Path("/")) -> int:
    """
    Return the number of processes that can keep a core busy each.

    That is the number of cores that the process may run on, or fewer if a control group (Linux,
    version 1 or 2) limits its CPU time: the limits of containers are such quotas. Part of a core
    does not count, since a process more than the quota allows is stopped again and again. A part
    alone counts as one core.

    Args:
        root: The root of the file system.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, math.floor(min([float(cores), *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU time that each control group of this process may use, as a number of cores."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        # 0::/a/b in version 2, 4:cpu,cpuacct:/a/b in version 1.
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounted = root / "sys/fs/cgroup"
        # The group of a container may be shown by its name on the host, and be mounted as the root:
        # then the folders below do not exist.
        for mount in (mounted, mounted / controllers, mounted / "cpu"):
            for folder in (mount / group.lstrip("/") / "x").parents:
                if not folder.is_relative_to(mount):
                    break
                yield from _quota(folder)


def _quota(folder: Path) -> Iterator[float]:
    """Yield the quota of one control group, if it has one."""
    try:
        # "100000 100000", or "max 100000" without a limit.
        quota, period = _read(folder / "cpu.max").split() or (
            _read(folder / "cpu.cfs_quota_us"),
            _read(folder / "cpu.cfs_period_us"),
        )
        if int(quota) > 0 and int(period) > 0:
            yield int(quota) / int(period)
    except ValueError:
        pass


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
