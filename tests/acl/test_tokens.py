"""Tokens: what a file of them says, who owns a secret, and that no secret is ever shown."""

# A row of a table reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

import hashlib
import json
import string
import time
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugind.acl import ACL_OFF, Acl, Caller, load_acl
from plugind.acl.blocks import Diagnostics
from plugind.acl.tokens import Token, block, digest, draw, read_tokens
from plugind.errors import ConfigError, Forbidden, TokenNotFound
from plugind.model.times import parse_time
from tests.acl.support import TYPES, mistakes_of, token, tokens, write

ID = "3f2a1b9c-0d4e-4f5a-8b6c-7d8e9f0a1b2c"
SECRET = "a-secret-nobody-may-ever-see-0123456789"
NOON = parse_time("2026-01-31T12:00:00Z")
READER = 'plugin { policy = "read" }'


def test_a_secret_belongs_to_its_token(tmp_path: Path) -> None:
    text = token(SECRET, accessor=f'"{ID}"', policies='["reader", "other", "reader"]')
    acl = tokens(tmp_path, text, reader=READER)
    assert acl.caller(SECRET, NOON) == Caller(ID, "a name", "client", ("other", "reader"))
    for wrong in (
        SECRET + " ",
        SECRET[:-1],
        ID,
        "x",
        hashlib.sha256(SECRET.encode()).hexdigest(),
        "é\ud800",
    ):
        with pytest.raises(TokenNotFound, match=r"^ACL token not found$") as raised:
            acl.caller(wrong, NOON)
        assert isinstance(raised.value, Forbidden)
        assert raised.value.status == 403


def test_an_expired_token_is_not_found(tmp_path: Path) -> None:
    acl = tokens(
        tmp_path, token(SECRET, type='"management"', expires='"2026-01-31T13:00:00+01:00"')
    )
    assert acl.caller(SECRET, NOON - 1).type == "management"
    for moment in (NOON, NOON + 10**18):
        with pytest.raises(TokenNotFound, match=r"^ACL token not found$"):
            acl.caller(SECRET, moment)


def test_without_a_token_the_anonymous_policy_counts(tmp_path: Path) -> None:
    nobody = tokens(tmp_path / "a", "", reader=READER)
    assert nobody.caller("", NOON).policies == ("anonymous",)
    assert not nobody.authorizer(nobody.caller("", NOON)).may_list("disk", "*").allowed
    anybody = tokens(tmp_path / "b", "", anonymous=READER)
    assert anybody.authorizer(anybody.caller("", NOON)).may_list("disk", "*").allowed
    assert not anybody.authorizer(anybody.caller("", NOON)).may_manage().allowed


def test_without_acls_everybody_counts_as_management() -> None:
    for secret in ("", SECRET):
        assert ACL_OFF.authorizer(ACL_OFF.caller(secret, NOON)).may_manage().allowed


def test_a_token_of_unknown_policies_only_may_do_nothing(tmp_path: Path) -> None:
    acl = tokens(
        tmp_path,
        token(SECRET, policies='["no", "reader"]') + token("x") + token("y", policies='["no"]'),
    )
    assert [(w.line, w.column, w.text) for w in acl.warnings] == [
        (4, 15, 'there is no policy "no": it grants nothing'),
        (4, 21, 'there is no policy "reader": it grants nothing'),
        (6, 1, 'token "a name" names no policy: it grants nothing'),
    ]
    assert not acl.authorizer(acl.caller(SECRET, NOON)).may_list("disk", "default").allowed


def test_tokens_in_json(tmp_path: Path) -> None:
    one = {"accessor": ID, "hash": f"sha256:{digest(SECRET).hex()}", "policies": ["reader"]}
    for number, value in enumerate(({"ops": one}, [{"ops": one}], {"ops": [one]})):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps({"token": value}))
        acl = load_acl(write(tmp_path / "p", {"reader.hcl": READER}), file, TYPES)
        assert acl.caller(SECRET, NOON) == Caller(ID, "ops", "client", ("reader",))


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("tokn \"x\" {}", '1:1: unknown block "tokn"; did you mean "token"?'),
        ("token {}", '1:1: token needs one name, of 1 to 256 printable characters: write token "NAME" { ... }'),
        ('token "" {}', None),
        ('token "a\\n" {}', None),
        (f'token "{"x" * 257}" {{}}', None),
        ('token "x" "y" {}', None),
        ("token = 1", '1:1: token is a block: write token "NAME" { ... }'),
        (token("x", accessor=""), '1:1: token "a name" lacks accessor'),
        (token("x", hash=""), '1:1: token "a name" lacks hash'),
        (token("x", accessor='"no"'), "2:3: accessor must be a UUID in lower case, as 'plugind acl token create' makes it"),
        (token("x", accessor=f'"{ID.upper()}"'), None),
        (token("x", accessor="1"), "2:3: accessor must be text in quotes"),
        (token("x", hash='"sha256:00"'), '3:3: hash must be "sha256:" and 64 digits from 0 to f, the SHA-256 of the secret'),
        (token("x", hash=f'"{SECRET}"'), None),
        (token("x", hash=f'"md5:{"0" * 64}"'), None),
        (token("x", hash="[]"), "3:3: hash must be text in quotes"),
        (token("x", type='"admin"'), '4:3: type must be "client" or "management"'),
        (token("x", type='["client"]'), '4:3: type must be "client" or "management"'),
        (token("x", type='"management"', policies='["a"]'), "5:3: a management token may do everything: remove its policies, or its type"),
        (token("x", policies='"a"'), '4:3: policies must be a list of texts, ["...", "..."]'),
        (token("x", policies='["a", 1]'), "4:20: policies[1] must be text in quotes"),
        (token("x", expires='"tomorrow"'), "4:3: expires must be an RFC 3339 time, such as 2026-01-31T23:00:00Z"),
        (token("x", expires="1"), None),
        (token("x", expires="null"), None),
        (token("x", expire='"2026-01-31T23:00:00Z"'), '4:3: unknown setting "expire" in token "a name"; did you mean "expires"?'),
        (token("x", policy="{}"), None),
        ('token "x" {\n policies {}\n}', None),
        (token("x", accessor=f'"{ID}"') + token("y", accessor=f'"{ID}"'), "6:3: this accessor is in line 2 already; each token has its own"),
        (token("x") + token("x"), "7:3: this hash is in line 3 already; each token has its own"),
    ],
)  # fmt: skip
def test_one_mistake(tmp_path: Path, text: str, mistake: str | None) -> None:
    with pytest.raises(ConfigError) as raised:
        tokens(tmp_path, text)
    (tmp_path / "tokens.hcl").unlink()  # some have a secret in the wrong place
    found = mistakes_of(raised)
    assert SECRET not in str(raised.value)
    if mistake is None:
        assert found[0].startswith("tokens.hcl:")
    else:
        assert found == [f"tokens.hcl:{mistake}"]


@pytest.mark.parametrize(
    "text",
    [
        f"hash = {SECRET}",
        f'hash = "{SECRET}',
        f"hash = '{SECRET}'",
        f'hash {SECRET} = "x"',
        f'hash = ["a" {SECRET}]',
        f'hash = "\\{SECRET}"',
        f'hash = "${{{SECRET}}}"',
        f'hash = f("{SECRET}")',
        f"{SECRET}",
        f"= {SECRET}",
        f'hash = "it\'s" "{SECRET}"',
        f'hash = "{SECRET}"',
        f'accessor = "{SECRET}"',
        f'type = "{SECRET}"',
        f'expires = "{SECRET}"',
        f'policies = "{SECRET}"',
        f'{SECRET} = "x"',
        f"{SECRET} {{\n}}",
        f'token "{SECRET}" {{\n}}',
        f"{SECRET.replace('-', '_')} = 1",
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(tmp_path: Path, text: str) -> None:
    for lines in (f'token "x" {{\n{text}\n}}\n', f"{text}\n"):
        with pytest.raises(ConfigError) as raised:
            tokens(tmp_path, lines)
        for piece in ("nobody", "a-secret", "0123"):
            assert piece not in str(raised.value)
            assert piece not in repr(raised.value.mistakes)
    (tmp_path / "tokens.hcl").unlink()


def test_neither_secrets_nor_hashes_are_in_texts(tmp_path: Path) -> None:
    acl = tokens(tmp_path, token(SECRET, policies='["a"]'))
    secret, made = draw("x", "client", ["a"], None)
    found = [acl, acl.caller(SECRET, NOON), acl.authorizer(acl.caller(SECRET, NOON)), made]
    with pytest.raises(TokenNotFound) as raised:
        acl.caller(secret, NOON)
    for thing in (*found, raised.value):
        for text in (repr(thing), str(thing)):
            assert SECRET not in text
            assert secret not in text
            for hash in (digest(SECRET), made.hash):
                assert hash.hex() not in text
                assert repr(hash) not in text


def test_secrets_are_new_and_whole_each_time() -> None:
    drawn = [draw("", "client", ["b", "a", "b"], None) for _ in range(100)]
    assert (
        len({secret for secret, _ in drawn})
        == len({made.caller.accessor for _, made in drawn})
        == 100
    )
    secret, made = drawn[0]
    assert len(bytes.fromhex(secret)) == 32
    assert made.hash == hashlib.sha256(secret.encode()).digest()
    assert made.caller.policies == ("a", "b")
    assert made.caller.name == made.caller.accessor[:8]


printable = st.characters(exclude_categories=["Cs", "Cc", "Cf", "Co", "Cn", "Zs", "Zl", "Zp"])
special = st.sampled_from(list('${}%"\\ ~'))
names = st.text(printable, min_size=1, max_size=40) | st.text(special, min_size=1, max_size=9)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=names,
    management=st.booleans(),
    policies=st.lists(st.text(string.ascii_letters + "-", min_size=1, max_size=9), max_size=3),
    expires=st.none() | st.integers(0, 2**63 - 1),
)
def test_a_block_means_its_token(
    tmp_path: Path, name: str, management: bool, policies: list[str], expires: int | None
) -> None:
    type_ = "management" if management else "client"
    _, made = draw(name, type_, [] if management else policies, expires)
    file = tmp_path / "tokens.hcl"
    file.write_text(block(made))
    diagnostics = Diagnostics()
    _, found = read_tokens(file, policies, diagnostics)
    assert diagnostics.mistakes == []
    assert found == {made.hash: made}


def test_looking_up_takes_no_time_among_many() -> None:
    caller = Caller(ID, "x", "client", ("a",))
    many = {digest(str(number)): Token(caller, digest(str(number))) for number in range(10_000)}
    acl = Acl(tokens=many)
    begun = time.thread_time()
    for number in range(10_000):
        assert acl.caller(str(number), NOON) is caller
    assert time.thread_time() - begun < 1


@pytest.mark.soak
def test_ten_thousand_tokens_load(tmp_path: Path) -> None:
    """Load ten thousand tokens, which are 2 MB of HCL."""
    blocks = [
        token(str(number), accessor=f'"{uuid.uuid4()}"', policies='["reader"]')
        for number in range(10_000)
    ]
    begun = time.thread_time()
    acl = tokens(tmp_path, "".join(blocks), reader=READER)
    assert len(acl.tokens) == 10_000
    assert acl.warnings == ()
    assert time.thread_time() - begun < 20


def test_a_file_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        tokens(tmp_path, "#" * (4 * 1024 * 1024 + 1))
    assert mistakes_of(raised) == ["tokens.hcl: larger than 4096 KiB, which no configuration needs"]
