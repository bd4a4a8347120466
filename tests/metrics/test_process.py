"""The values of a process equal those that prometheus-client would return."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from plugind.metrics import process
from plugind.metrics.metrics import CONTENT_TYPE
from plugind.metrics.process import process_values
from plugind.metrics.snapshot import CPU


def test_the_values_of_this_process() -> None:
    theirs = {
        sample.name: sample.value
        for metric in ProcessCollector(registry=None).collect()
        for sample in metric.samples
    }
    ours = process_values()
    assert ours.keys() == theirs.keys()
    assert ours.pop(CPU) == pytest.approx(theirs.pop(CPU), abs=0.1)
    assert ours.pop("process_open_fds") == pytest.approx(theirs.pop("process_open_fds"), abs=2)
    assert ours == pytest.approx(theirs, rel=0.05)


def test_the_processor_time_of_the_processes_before_counts() -> None:
    more = process_values(1_000.0)[CPU] - process_values()[CPU]
    assert more == pytest.approx(1_000, abs=1)


def test_a_kernel_that_does_not_report_its_boot_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "stat").write_text("cpu 1 2 3\n")
    all_values = process_values()
    monkeypatch.setattr(process, "_BOOTED", tmp_path / "stat")
    process._started.cache_clear()
    found = process_values()
    assert all_values.keys() - found.keys() == {"process_start_time_seconds"}


def test_the_content_type_is_that_of_the_format() -> None:
    assert CONTENT_TYPE == CONTENT_TYPE_PLAIN_0_0_4
