"""Files crafted to be slow or deep are read or refused within a tenth of a second of processor
time; so are decisions about names crafted to be slow."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from plugind.errors import ConfigError
from tests.acl.support import policies, token, tokens
from tests.promises import slowness

LIMIT = 0.1  # seconds
CAPABILITY = '"disk-list-plugin"'

NASTY = [
    "a {" * 20_000,
    "a {" * 10_000 + "}" * 10_000,
    f'namespace "x" {{ capabilities = {"[" * 9_000}{"]" * 9_000} }}',
    f'namespace "x" {{ capabilities = [{", ".join([CAPABILITY] * 700)}] }}',
    f'namespace "x" {{ capabilities = [{", ".join([CAPABILITY] * 100_000)}] }}',
    "x = 1\n" * 5_400,
    "x = 1\n" * 100_000,
    "x = " + "(" * 50_000,
    'x = "' + "${" * 50_000,
    "x = <<A\n" + "a\n" * 200_000,
    "/*" * 200_000,
    '"' * 200_001,
    "".join(f'namespace "{"*a" * 40}{number}" {{ policy = "read" }}\n' for number in range(100)),
]


@contextmanager
def soon() -> Iterator[None]:
    gc.collect()
    gc.freeze()  # what other tests left is not to be counted here
    begin = time.process_time()
    yield
    used = time.process_time() - begin
    gc.unfreeze()
    assert used < LIMIT or used < LIMIT * slowness(), f"{used:.3f} s"


@pytest.fixture(autouse=True)
def parser(tmp_path: Path) -> None:
    """Build the parser, which otherwise happens at its first use."""
    policies(tmp_path / "first", first='node { policy = "read" }')


@pytest.mark.alone
@pytest.mark.parametrize("text", NASTY, ids=lambda text: f"{text[:20]!r} {len(text)}")
def test_a_policy(tmp_path: Path, text: str) -> None:
    with soon(), suppress(ConfigError):
        policies(tmp_path, nasty=text)


@pytest.mark.alone
@pytest.mark.parametrize("text", NASTY, ids=lambda text: f"{text[:20]!r} {len(text)}")
def test_a_file_of_tokens(tmp_path: Path, text: str) -> None:
    with soon(), pytest.raises(ConfigError):
        tokens(tmp_path, text)


@pytest.mark.alone
def test_a_token_with_a_huge_list(tmp_path: Path) -> None:
    many = ", ".join(f'"p{number}"' for number in range(200_000))
    with soon(), pytest.raises(ConfigError, match="without the end of a block"):
        tokens(tmp_path, token("s", policies=f"[{many}]"))


@pytest.mark.alone
def test_a_decision_about_names_made_to_be_slow(tmp_path: Path) -> None:
    patterns = "".join(
        f'namespace "{"*a" * 40}{number}" {{ policy = "read" }}\n' for number in range(200)
    )
    acl = policies(tmp_path, reader=patterns)
    caller = acl.caller("", 0)
    authorizer = acl.authorizer(caller)
    with soon():
        for name in ("a" * 128, "a" * 8_000, "*" * 8_000):
            assert not authorizer.may_list("disk", name).allowed
