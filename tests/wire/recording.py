"""Answers of a real Nomad, one per file: the request as a curl command, then the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recordings"

_URL = re.compile(r" http://[^/]+(/\S*)$")
_HEADER = re.compile(r" -H ([\w-]+)(?:: (.*?)|;)(?= -[A-Zidow]\b| http)")
_METHOD = re.compile(r" -X ([A-Z]+)")
_DATA = re.compile(r" -d (\{.*?) http")
_TIMING = re.compile(r"\n\[took [\d.]+ s\]\n?$")


@dataclass(frozen=True)
class Recording:
    """A request and its answer; names of the answer's headers are in lower case."""

    name: str
    method: str
    path: str
    given: Mapping[str, str]
    data: str
    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def is_json(self) -> bool:
        return self.headers.get("content-type") == "application/json" and bool(self.body)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_first_sitting(self) -> bool:
        """Return whether it is of the first recording: Nomad was recorded twice, as two nodes."""
        return self.headers["date"] < "Tue, 24 Nov 2026 15"


def read(name: str) -> Recording:
    """Read the recording of that name."""
    text = (FOLDER / f"{name}.txt").read_text()
    curl, answer = text.split("\n\n", 1)
    head, _, body = answer.partition("\n\n")
    status, *lines = head.splitlines()
    pairs = (line.split(": ", 1) for line in lines)
    method = _METHOD.search(curl)
    data = _DATA.search(curl)
    url = _URL.search(curl)
    assert url, curl
    return Recording(
        name,
        "HEAD" if " -I " in curl else method[1] if method else "GET",
        url[1],
        dict(_HEADER.findall(curl)),
        data[1] if data else "",
        int(status.split()[1]),
        {name.lower(): value for name, value in pairs},
        _TIMING.sub("", body).removesuffix("\n"),
    )


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.txt"))
