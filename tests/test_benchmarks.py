"""The benchmarks keep working: their parts alone, and benchmarks run with small fleets.

No test asserts times: measurements are for people to read, made on an idle machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import fleets, pictures
from benchmarks.context import Context, config
from benchmarks.figures import figures
from benchmarks.results import RATE, SECONDS, Reach, Row, Spread
from benchmarks.svg import Line, picture
from benchmarks.table import BEGIN, END, number, of, table, written
from benchmarks.writes import PLUGINS, heartbeat, reports
from tests.support import FakeAgent, needs, serving

ROOT = Path(__file__).parent.parent
SVG = "{http://www.w3.org/2000/svg}"


def row(**more: Any) -> Row:
    given = {"figure": "list-10", "part": "rate", "what": "a list", "server": "waitress"}
    values = {"unit": RATE, "values": [90.0, 110.0, 50.0], "yardstick": "bare"}
    return Row(**{**given, **values, "yardsticks": [100.0, 100.0, 100.0], **more})


def test_a_spread_is_the_median_between_the_extremes() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def test_a_ratio_is_that_of_each_pair() -> None:
    pairs = row(values=[10.0, 400.0], yardsticks=[20.0, 100.0])
    assert pairs.ratio == Spread.of([0.5, 4.0])
    assert row(yardsticks=()).ratio is None


@pytest.mark.parametrize(
    ("reach", "is_met"),
    [
        (Reach(), None),
        (Reach(ratio_least=0.9), True),
        (Reach(ratio_least=0.91), False),
        (Reach(ratio_most=0.9), True),
        (Reach(ratio_most=0.89), False),
        (Reach(least=90), True),
        (Reach(ratio_least=0.9, least=91), False),
        (Reach(most=90), True),
        (Reach(most=89), False),
    ],
)
def test_a_target_holds_for_the_median(reach: Reach, is_met: bool | None) -> None:
    assert row(reach=reach).is_met is is_met


def test_a_ratio_that_is_to_be_reached_needs_a_yardstick() -> None:
    assert row(reach=Reach(ratio_least=0.1), yardsticks=()).is_met is False


def test_processor_times_give_a_ratio_of_their_own() -> None:
    assert row(cpu=200.0, yardstick_cpu=100.0).cpu_ratio == 0.5
    assert row(cpu=200.0).cpu_ratio is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,346"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.123")],
)
def test_numbers_have_the_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_several_runs_show_their_extremes() -> None:
    assert of([1.0, 3.0, 2.0], SECONDS) == "2.00 s (1.00 to 3.00)"
    assert of([1000.0], RATE) == "1,000/s"


def test_the_table_is_aligned_and_has_everything() -> None:
    reach = Reach(ratio_least=0.9, most=1_000)
    text = table([row(reach=reach, cpu=200.0, yardstick_cpu=100.0, notes=["3 refused"]), row()])
    lines = text.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "a list",
        "waitress",
        "bare: 100/s (100 to 100)",
        "90.0/s (50.0 to 110)",
        "0.90 (0.50 to 1.10)",
        "≥ 0.9 of it, ≤ 1,000/s",
        "reached",
        "100; 200",
        "0.50",
        "3 refused",
    ]


def test_a_result_takes_the_place_of_the_one_before() -> None:
    document = f"# Title\n\n{BEGIN}\nold\n{END}\n\nmore\n"
    once = written(document, "new")
    assert once == f"# Title\n\n{BEGIN}\n\nnew\n\n{END}\n\nmore\n"
    assert written(once, "new") == once
    with pytest.raises(ValueError, match="make bench: begin"):
        written("# Title\n", "new")


def test_a_picture_has_a_line_for_each_with_all_its_points() -> None:
    lines = [
        Line("one & two", [(10, 100.0), (1_000, 1.0), (100, 10.0)]),
        Line("other", [(10, 1.0)], 1, True),
    ]
    tree = ElementTree.fromstring(picture("Title", "size", "rate", lines))
    assert len(list(tree.iter(f"{SVG}circle"))) == 4
    assert {"Title", "size", "rate", "one & two", "other"} <= {
        text.text for text in tree.iter(f"{SVG}text")
    }
    drawn = [path.get("d", "") for path in tree.iter(f"{SVG}path") if path.get("stroke-width")]
    first = max(drawn, key=len)
    places = [[float(each) for each in point.split()] for point in first[1:].split(" L")]
    # Powers of ten are equally far from each other, and a larger value is higher.
    (x1, y1), (x2, y2), (x3, y3) = places
    assert x2 - x1 == pytest.approx(x3 - x2)
    assert y2 - y1 == pytest.approx(y3 - y2)
    assert x1 < x2
    assert y1 < y2


@pytest.mark.parametrize("lines", [[], [Line("one", [])], [Line("one", [(1.0, 0.0)])]])
def test_a_picture_of_nothing_is_refused(lines: Sequence[Line]) -> None:
    with pytest.raises(ValueError, match="greater than zero"):
        picture("Title", "size", "rate", lines)


def test_pictures_are_drawn_of_what_has_two_sizes(tmp_path: Path) -> None:
    rows = [row(), row(figure="list-100"), row(figure="list-100", server="granian")]
    (file,) = pictures.drawn(rows, tmp_path)
    assert file.name == "lists.svg"
    texts = [each.text for each in ElementTree.parse(file).iter(f"{SVG}text")]
    assert "plugind, waitress" in texts
    assert "plugind, granian" not in texts


def test_names_of_figures_are_unique_and_those_of_pictures_exist(tmp_path: Path) -> None:
    context = Context(tmp_path, runs=1, seconds=1, quick=True)
    names = [each.name for each in figures(context)]
    assert len(names) == len(set(names))
    assert {name for chart in pictures.CHARTS for name in chart.sizes} <= set(names)


def test_a_fleet_is_what_its_reports_would_make(tmp_path: Path) -> None:
    fleet = fleets.listed(30, spread=4, group=20)
    fleets.fill(tmp_path, fleet, config())
    digests = json.loads((tmp_path / fleets.DIGESTS).read_text())
    with serving(tmp_path, live=False, config=config()) as api:
        rows = api.call("GET", "/v1/plugins?type=csi").json
        assert [row["ID"] for row in rows] == [fleets.plugin(number) for number in range(30)]
        assert {(row["NodesHealthy"], row["NodesExpected"]) for row in rows} == {(4, 4)}
        nodes = api.call("GET", "/v1/nodes").json
        assert {node["Name"] for node in nodes} == set(map(fleets.node_name, range(8)))

        # The same report again changes nothing, and has the computed digest.
        index = api.services.feed.state.index
        agent = FakeAgent(api, fleets.node_id(5), secret=fleets.SECRET)
        sent = fleets.report(5, dict.fromkeys(fleet.plugins_on(5), fleets.FINGERPRINT))
        answer = api.call("PUT", f"/v1/node/{agent.node_id}", sent, agent.headers)
        assert answer.json["Index"] == index
        assert answer.json["Digest"].partition(".")[0] == digests[5]
        assert agent.beat(answer.json["Digest"]).status == 200


def test_each_report_of_a_cycle_changes_one_instance() -> None:
    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in reports()]
    healths = [
        tuple(roles["node"]["Healthy"] for roles in body["Plugins"]["csi"].values())
        for body in bodies
    ]
    assert len(healths) == 2 * PLUGINS
    before = (True,) * PLUGINS
    for health in healths:
        assert sum(one is not other for one, other in zip(before, health, strict=True)) == 1
        before = health
    assert all(before)


def test_requests_say_how_long_they_are_once_they_are_filled_in() -> None:
    for request in (reports()[0], heartbeat("0123abcd")):
        whole = request.replace(b"@NAME@", fleets.node_name(7).encode())
        whole = whole.replace(b"@DIGEST@", b"0" * 32)
        head, _, body = whole.partition(b"\r\n\r\n")
        assert f"\r\nContent-Length: {len(body)}".encode() in head


def run(*options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run benchmarks with small fleets, in a folder that pytest removes."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--folder", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)


@pytest.mark.alone
def test_figures_are_measured_written_and_drawn(tmp_path: Path) -> None:
    needs("/usr/bin/wrk", "wrk")
    document = tmp_path / "performance.md"
    document.write_text(f"{BEGIN}\n{END}\n")
    names = {"unchanged", "beats-100", "watchers-200"}
    only = [word for name in sorted(names) for word in ("--only", name)]
    done = run(
        *(*only, "--on", "waitress", "--json"),
        *("--write", str(document), "--pictures", str(tmp_path / "pictures")),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert {each["figure"] for each in got["figures"]} == names
    assert all(each["value"]["least"] > 0 for each in got["figures"])
    assert all(each["ratio"]["least"] > 0 for each in got["figures"])
    assert not [each for each in got["figures"] if "refused" in str(each["notes"])]
    assert {"processor", "memory", "kernel", "Python"} <= got["machine"].keys()
    assert "304 for the list" in document.read_text()
    assert not [each for each in tmp_path.iterdir() if each.name.startswith("plugind-bench-")]


def test_a_name_that_no_figure_has_is_an_error(tmp_path: Path) -> None:
    done = run("--only", "nothing", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--list" in done.stderr


def test_wrk_is_named_where_it_is_missing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "list-10"]
    environ = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 2
    assert "apt-get install wrk" in done.stderr


@pytest.mark.soak
@pytest.mark.parametrize(
    "name", [each.name for each in figures(Context(Path(), runs=1, seconds=1, quick=True))]
)
def test_each_figure_can_be_measured(name: str, tmp_path: Path) -> None:
    needs("/usr/bin/wrk", "wrk")
    needs("/usr/bin/etcd", "etcd-server")
    done = run("--only", name, "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["figures"]
