"""The HCL parser is in memory only while files are read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hcl2.parser import parser

from plugind.config.reading import forget_parser, parse_file


def test_the_parser_is_forgotten_and_made_again(tmp_path: Path) -> None:
    file = tmp_path / "a.hcl"
    file.write_text("a = 1\n")
    first = parse_file(file)
    assert parser.cache_info().currsize == 1
    forget_parser()
    assert parser.cache_info().currsize == 0
    assert parse_file(file) == first


def test_files_of_json_need_no_parser_of_hcl(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"a": 1}')
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from plugind.config.reading import forget_parser, parse_file\n"
        f"print(parse_file(Path({str(file)!r})).attributes[0].name)\n"
        "forget_parser()\nprint('hcl2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["a", "False"], done.stderr
