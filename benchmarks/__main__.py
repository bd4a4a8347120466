"""``python -m benchmarks``: measure figures and print them as a table."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.context import Context
from benchmarks.figures import Figure, figures
from benchmarks.load import WRK
from benchmarks.machine import machine
from benchmarks.pictures import drawn
from benchmarks.results import Row
from benchmarks.servers import FRONTS, Front
from benchmarks.table import table, written

_EPILOG = """
Each figure is measured beside its yardstick in the same run, in turn: what counts is the ratio, and
only within one run. A value is the median of the runs, with its extremes behind it.

  python -m benchmarks --list                        the names of all figures
  python -m benchmarks --only list-1000              one figure on all its servers
  python -m benchmarks --only 'list-*' --on granian  several figures on one server
  python -m benchmarks --only gzip --runs 9          more runs, where the machine is noisy

It needs wrk (apt-get install wrk) and plugind with the extra "test"; figures on etcd need etcd too.
docs/performance.md says how to read the table.
"""


def main() -> int:
    asked = _parser().parse_args()
    # Exit normally on SIGTERM, so that all started processes are ended on the way out.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with TemporaryDirectory(prefix="plugind-bench-", dir=asked.folder) as name:
        runs, seconds = (1, 1) if asked.quick else (asked.runs, asked.seconds)
        context = Context(Path(name), runs=runs, seconds=seconds, quick=asked.quick)
        all_ = figures(context)
        chosen = [each for each in all_ if _is_chosen(each, asked)]
        if asked.list:
            for each in all_:
                fronts = ", ".join(front.key for front in each.fronts)
                long = " (left to --all)" if each.is_long else ""
                print(f"{each.name:22} {each.what:52} {fronts}{long}")
            return 0
        if not chosen:
            print("no figure has such a name: --list names them", file=sys.stderr)
            return 2
        if shutil.which(WRK) is None:
            print("wrk is missing: apt-get install wrk", file=sys.stderr)
            return 2
        about = machine()
        began = time.monotonic()
        with closing(context):
            rows, failures = _measured(context, chosen, asked.on)
        about["took"] = f"{time.monotonic() - began:.0f} s"
    _show(asked, about, rows)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Measure plugind beside bare functions on the same HTTP servers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--only", action="append", metavar="NAME", help="a figure, or several by * and ?; repeat it"
    )
    keys = [front.key for front in FRONTS]
    add("--on", action="append", choices=keys, help="an HTTP server; repeat it; by default all")
    add("--all", action="store_true", help="long figures too")
    add("--runs", type=int, default=3, metavar="N", help="pairs of runs for a figure (3)")
    add("--seconds", type=int, default=1, metavar="N", help="seconds of each run (1)")
    add("--quick", action="store_true", help="try it out: small fleets, and no numbers to use")
    add("--list", action="store_true", help="print the names of the figures")
    add("--json", action="store_true", help="print JSON, with every run")
    add("--write", type=Path, metavar="FILE", help="also put the table between FILE's two markers")
    add("--pictures", type=Path, metavar="FOLDER", help="also draw how costs grow, as SVG")
    add("--folder", metavar="FOLDER", help="where stores are kept meanwhile (TMPDIR)")
    return parser


def _is_chosen(figure: Figure, asked: argparse.Namespace) -> bool:
    if asked.only:
        return any(fnmatch(figure.name, pattern) for pattern in asked.only)
    return asked.all or not figure.is_long


def _measured(
    context: Context, chosen: Sequence[Figure], on: Sequence[str] | None
) -> tuple[list[Row], list[str]]:
    """Return the rows of figures in the order of their table, and for each that failed, why."""
    jobs = [
        (figure, front)
        for figure in chosen
        for front in figure.fronts
        if on is None or front.key in on
    ]
    found: dict[tuple[str, str], list[Row]] = {(one.name, front.key): [] for one, front in jobs}
    failures: list[str] = []
    before = None
    for number, (figure, front) in enumerate(sorted(jobs, key=_order)):
        if _order((figure, front)) != before:
            context.close()  # no idle server may run next to the one that is measured
        before = _order((figure, front))
        context.say(f"{number + 1} of {len(jobs)}: {figure.what}, on {front.name}")
        try:
            found[figure.name, front.key] = figure.measure(context, front)
        except Exception as error:  # the other figures are still useful
            failures.append(f"{figure.name} on {front.name} failed: {error}")
            context.say(failures[-1])
            context.close()
    return [row for rows in found.values() for row in rows], failures


def _order(job: tuple[Figure, Front]) -> tuple[str, int]:
    figure, front = job
    return figure.order, FRONTS.index(front)


def _show(asked: argparse.Namespace, about: dict[str, str], rows: Sequence[Row]) -> None:
    described = "\n".join(f"- {name}: {value}" for name, value in about.items())
    result = f"{described}\n\n{table(rows)}"
    if asked.json:
        values = [row.for_programs() for row in rows]
        print(json.dumps({"machine": about, "figures": values}, indent=2))
    else:
        print(result)
    if asked.pictures:
        for file in drawn(rows, asked.pictures):
            print(f"drawn: {file}", file=sys.stderr)
    if asked.write:
        asked.write.write_text(written(asked.write.read_text(), result))


if __name__ == "__main__":
    sys.exit(main())
