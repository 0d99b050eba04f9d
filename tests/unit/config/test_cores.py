"""Tests of the number of cores that a process may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config.cores import usable_cores


class CoresTests(SynchronousTestCase):
    """The machine has eight cores, and a container may use fewer."""

    def setUp(self) -> None:
        """Make a file system."""
        self.patch(os, "sched_getaffinity", lambda pid: set(range(8)))
        self.patch(sys, "platform", "linux")
        self.root = Path(self.mktemp())
        self.root.mkdir()

    def write(self, **files: str) -> None:
        """Write files. In their names, ``__`` stands for a slash and ``_x_`` for a comma."""
        for name, text in files.items():
            path = self.root / name.replace("__", "/").replace("_x_", ",").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def test_no_groups(self) -> None:
        """Without control groups, the cores count on which the process may run."""
        self.assertEqual(8, usable_cores(self.root))

    def test_elsewhere(self) -> None:
        """Other systems are asked how many there are; it is one if they do not know."""
        self.patch(sys, "platform", "other")
        self.patch(os, "cpu_count", lambda: 6)
        self.assertEqual(6, usable_cores(self.root))
        self.patch(os, "cpu_count", lambda: None)
        self.assertEqual(1, usable_cores(self.root))

    def test_this_machine(self) -> None:
        """The real files can be read."""
        self.assertIn(usable_cores(), range(1, 9))

    def test_version_2(self) -> None:
        """The quota is divided by its period, and part of a core does not count beside a whole."""
        self.write(proc__self__cgroup="0::/\n")
        for quota, cores in (
            ("100000 100000", 1),
            ("200000 100000", 2),
            ("290000 100000", 2),
            ("50000 100000", 1),
            ("1000 100000", 1),
            ("900000 100000", 8),
            ("max 100000", 8),
            ("", 8),
            ("0 0", 8),
            ("x", 8),
        ):
            self.write(sys__fs__cgroup__cpu_dot_max=quota)
            self.assertEqual(cores, usable_cores(self.root), quota)

    def test_groups_above(self) -> None:
        """The least quota of all groups above counts."""
        self.write(
            proc__self__cgroup="0::/a/b/c\n",
            sys__fs__cgroup__a__b__c__cpu_dot_max="700000 100000\n",
            sys__fs__cgroup__a__cpu_dot_max="300000 100000\n",
            cpu_dot_max="100000 100000\n",
        )
        self.assertEqual(3, usable_cores(self.root))

    def test_version_1(self) -> None:
        """The controller has a folder of its own; -1 is no quota."""
        self.write(
            proc__self__cgroup="5:memory:/m\n4:cpu,cpuacct:/a\n1:name=systemd:/s\n",
            sys__fs__cgroup__cpu_x_cpuacct__cpu_dot_cfs_quota_us="-1\n",
            sys__fs__cgroup__cpu_x_cpuacct__cpu_dot_cfs_period_us="100000\n",
        )
        self.assertEqual(8, usable_cores(self.root))
        self.write(
            sys__fs__cgroup__cpu_x_cpuacct__a__cpu_dot_cfs_quota_us="400000\n",
            sys__fs__cgroup__cpu_x_cpuacct__a__cpu_dot_cfs_period_us="100000\n",
        )
        self.assertEqual(4, usable_cores(self.root))

    def test_container_with_name_on_the_host(self) -> None:
        """A group whose folder is mounted as the root counts."""
        self.write(
            proc__self__cgroup="4:cpu:/docker/0123\n",
            sys__fs__cgroup__cpu__cpu_dot_cfs_quota_us="200000\n",
            sys__fs__cgroup__cpu__cpu_dot_cfs_period_us="100000\n",
        )
        self.assertEqual(2, usable_cores(self.root))
