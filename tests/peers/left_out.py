"""Keeps account of the tests of a suite: each one runs, or is named with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

import pytest

__all__ = ["LeftOut"]


class LeftOut:
    """
    A pytest plugin that leaves tests out, and fails the run if the list of them is wrong.

    It is wrong if a pattern fits no test of the files that are run, or if a test is skipped that
    it does not name.

    Args:
        reasons: The reason of each pattern. A pattern is the end of the id of a test from its file
            on, as ``test_http.py::test_scopes*``.
        variants: Parts of ids, such as ``[h11]``, of tests that are other variants of one that
            runs. They are deselected.
    """

    def __init__(self, reasons: Mapping[str, str], variants: tuple[str, ...] = ()) -> None:
        self._reasons = reasons
        self._variants = variants
        self._unused: set[str] = set()
        self._named: set[str] = set()
        self._silent: list[str] = []

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Take out the variants, and mark the tests that are left out."""
        away = [item for item in items if any(part in item.nodeid for part in self._variants)]
        items[:] = [item for item in items if item not in away]
        config.hook.pytest_deselected(items=away)
        files = {item.path.name for item in items}
        self._unused = {pattern for pattern in self._reasons if pattern.split("::")[0] in files}
        for item in items:
            for pattern in self._patterns_of(item.nodeid):
                self._unused.discard(pattern)
                self._named.add(item.nodeid)
                item.add_marker(pytest.mark.skip(reason=self._reasons[pattern]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count."""
        if report.skipped and not hasattr(report, "wasxfail") and report.nodeid not in self._named:
            self._silent.append(f"{report.nodeid}: {report.longrepr}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run if the list is wrong."""
        wrong = [*self._errors()] if not session.config.option.keyword else []
        for line in wrong:
            print(f"\nleft out wrongly: {line}")
        if wrong and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _patterns_of(self, test: str) -> Iterator[str]:
        for pattern in self._reasons:
            if fnmatchcase(test, f"*{pattern}".replace("[", "[[]")):
                yield pattern

    def _errors(self) -> Iterator[str]:
        for pattern in sorted(self._unused):
            yield f"{pattern} is the name of no test"
        for test in self._silent:
            yield f"{test}: skipped, and not named"
