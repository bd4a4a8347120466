"""Which tests are long: ``make test`` skips them, so that it takes minutes; ``make test-long`` runs
them.

``make test`` runs the tests that find most faults for their time: all that need one process, the
API in process and on one live server, and a test or two with each kind of store, HTTP server,
process and tool. The others are long: tests that start, kill and restart processes, that run
hundreds of examples, or that repeat a test on other servers and stores.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plugind.serve.front import GRANIAN, UVICORN

TESTS = Path(__file__).parent

AGAIN = {GRANIAN, UVICORN, "shared", "etcd", "several", "document"}
"""Parameters that make a test repeat what it does without them: on another HTTP server, on another
store, on several servers, or with the other form of answers."""

LONG = {
    *("attacks", "consistency", "model", "store/etcd", "testing"),
    *("agent/test_endings.py", "agent/test_idle_connections.py", "api/test_fuzzing.py"),
    *("api/test_repeats.py", "availability/test_reading.py", "feed/test_two_catalogues.py"),
    *("cli/test_history.py", "cli/test_narrow.py", "cli/test_node_forget.py"),
    *("cli/test_selecting.py", "cli/test_tokens.py", "cli/test_watching.py", "cli/test_wires.py"),
    *("metrics/test_prometheus.py", "serve/test_keeper.py", "store/test_faults.py"),
    "store/test_history_cost.py",
    *("store/test_hung_disk.py", "store/test_many_processes.py", "store/test_membership.py"),
    *("store/test_restoring.py", "store/test_shared_servers.py", "store/test_sweep.py"),
    *("store/test_transfer_memory.py", "store/test_turns.py", "test_agent_as_root.py"),
    *("test_agent_processes.py", "test_allocations.py", "test_benchmarks.py", "test_cli.py"),
    *("test_client_certificates.py", "test_docs.py", "test_examples.py", "test_exposing.py"),
    *("test_faults.py", "test_hosted.py", "test_hosted_tls.py", "test_hygiene.py"),
    *("test_init.py", "test_isolation.py"),
    *("test_night.py", "test_nomad_layouts.py", "test_packaging.py", "test_plugin_check.py"),
    *("test_plugin_types_document.py", "test_processes.py", "test_readonly_root.py"),
    *("test_reload.py", "test_reload_command.py", "test_reload_load.py", "test_secrets.py"),
    *("test_server.py", "test_shared_store.py", "test_signals.py", "test_start_checks.py"),
    *("test_team_policy.py", "test_thread_faults.py", "test_three_servers.py"),
    *("test_where_nodes_are.py", "test_workers.py", "ui/test_browser.py"),
    *("ui/test_drivers.py", "ui/test_events.py", "ui/test_prefix.py"),
    "api/test_decoding.py::test_a_filter_means_the_same_of_rows_in_every_version_of_a_list",
    "api/test_kept_answers.py::test_an_answer_that_is_kept_is_the_one_that_would_be_made",
    "availability/test_sums.py::test_they_are_those_of_counting_each_second",
    "events/test_faults.py::test_those_who_connect_again_miss_nothing_and_get_nothing_twice",
    "metrics/test_probes.py::test_a_real_agent_reports_its_probes",
    "metrics/test_rules.py::test_commands_in_alerts_exist",
    "serve/test_repeated.py::test_what_was_taken_away_is_in_no_answer_that_began_later",
    "store/test_conformance.py::test_a_fault_is_caught",
    "store/test_maintenance.py::test_a_backup_while_reports_pour_in_has_what_was_acknowledged",
    "store/test_maintenance.py::test_an_export_is_imported_by_the_commands",
    "test_registry.py::test_output_of_packages_goes_to_standard_error",
    "test_registry.py::test_unused_packages_are_named_by_the_list_and_by_health",
    "test_repeated_reports.py"
    "::test_any_sequence_of_reports_comes_to_what_it_comes_to_without_a_memory",
    "test_store.py::test_changes_together_come_to_what_they_come_to_one_by_one",
}
"""The folders, modules and tests that are long."""

CORE = {
    *("consistency/test_checker.py", "consistency/test_nemesis.py", "model/test_packing.py"),
    "cli/test_wires.py::test_one_plugin",
    "metrics/test_prometheus.py::test_it_scrapes_and_has_no_alert",
    "serve/test_fronts.py::test_events_are_sent_as_they_come",
    "serve/test_keeper.py::test_orders_are_answered",
    "store/etcd/test_server.py::test_a_server_keeps_its_catalogue_in_etcd",
    "store/etcd/test_server.py::test_servers_answer_for_each_other_at_once",
    "test_cli.py::test_json_is_what_the_server_said",
    "test_client_certificates.py::test_a_command_shows_its_certificate",
    "test_hosted.py::test_a_server_takes_reports_and_parks_queries",
    "test_hygiene.py::test_a_test_that_runs_beside_others_bounds_no_time_by_seconds",
    "test_hygiene.py::test_what_is_said_to_be_long_or_not_is_there",
    "test_processes.py::test_two_agents_and_drivers_that_die_return_and_are_upgraded",
    "test_shared_store.py::test_a_restarted_agent_that_changes_servers_is_no_clone",
    "test_signals.py::test_a_reload_names_what_needs_a_restart",
    "test_workers.py::test_a_report_to_one_worker_is_read_from_the_other",
    "testing/test_conformance.py::test_storage_drivers_keep_the_rules",
    "ui/test_browser.py::test_an_open_page_shows_changes_without_a_reload",
}
"""Exceptions: the tests of each kind that ``make test`` runs, whatever their parameters are."""


def mark_long(items: list[pytest.Item]) -> None:
    """Mark the tests that are long."""
    for item in items:
        if _is_long(item):
            item.add_marker(pytest.mark.long)


def _is_long(item: pytest.Item) -> bool:
    for place in _places(item):
        if place in CORE or place in LONG:
            return place in LONG
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return any(isinstance(each, str) and each in AGAIN for each in values)


def _places(item: pytest.Item) -> Iterator[str]:
    """Yield the names by which a test may be listed in the sets, its own name first."""
    if item.path.is_relative_to(TESTS):
        module = item.path.relative_to(TESTS)
        yield f"{module}::{getattr(item, 'originalname', item.name)}"
        yield from (str(each) for each in (module, *module.parents))
