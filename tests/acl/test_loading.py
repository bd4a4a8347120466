"""Loading as a whole: the generation, and the capabilities that types define."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from plugind.acl import Acl, Caller, load_acl
from plugind.errors import ConfigError
from plugind.types.registry import load_registry
from tests.acl.support import TYPES, DiskType, policies, token, tokens, write

SECRET = "a secret of a test"


def test_the_generation_is_of_what_was_read(tmp_path: Path) -> None:
    one = token(SECRET, policies='["a"]')
    first = tokens(tmp_path, one, a='# x\nnode {\n policy = "read"\n}\n')
    again = load_acl(tmp_path / "policies", tmp_path / "tokens.hcl", reversed(TYPES))
    assert again == first
    assert again.generation == first.generation
    others = [
        load_acl(tmp_path / "policies", None, TYPES),
        load_acl(tmp_path / "policies", tmp_path / "tokens.hcl", [DiskType()]),
        tokens(tmp_path, f"{one}\n", a='# x\nnode {\n policy = "read"\n}\n'),
        tokens(tmp_path, one, a='# y\nnode {\n policy = "read"\n}\n'),
        tokens(tmp_path, one, b=""),
    ]
    generations = {first.generation, *(other.generation for other in others)}
    assert len(generations) == 1 + len(others)
    os.rename(tmp_path / "policies" / "b.hcl", tmp_path / "policies" / "c.hcl")
    assert (
        load_acl(tmp_path / "policies", tmp_path / "tokens.hcl", TYPES).generation
        not in generations
    )


def test_the_generation_depends_on_the_files(tmp_path: Path) -> None:
    two = policies(tmp_path / "two", a="#", b="")
    one = policies(tmp_path / "one", a="#b")
    assert one.generation != two.generation


def test_loaded_policies_do_not_change(tmp_path: Path) -> None:
    acl = policies(tmp_path, a='plugin { policy = "read" }')
    (tmp_path / "policies" / "a.hcl").write_text("")
    caller = Caller("", "", "client", ("a",))
    assert acl.authorizer(caller).may_list("disk", "*").allowed
    for thing in (acl, acl.policies["a"], acl.policies["a"].rules[0], caller):
        name = dataclasses.fields(thing)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, None)


def test_an_empty_folder_grants_nothing(tmp_path: Path) -> None:
    acl = policies(tmp_path)
    assert acl == Acl(vocabulary=acl.vocabulary, generation=acl.generation)
    assert acl.generation


def test_a_type_brings_its_capabilities(tmp_path: Path) -> None:
    text = 'namespace "a" { capabilities = ["disk-mount-volume"] }'
    folder = write(tmp_path, {"a.hcl": text})
    assert load_acl(folder, None, TYPES).warnings == ()
    with pytest.raises(ConfigError, match="unknown capability"):
        load_acl(folder, None, ())


def test_a_capability_of_a_type_opens_no_other(tmp_path: Path) -> None:
    """Check that capabilities that types define for Nomad's policies grant nothing here."""
    types = load_registry().types
    brought = {name: type_.capabilities for name, type_ in types.items() if type_.capabilities}
    assert brought
    for name, capabilities in brought.items():
        listed = ", ".join(f'"{each}"' for each in capabilities)
        text = f'namespace "*" {{ capabilities = [{listed}] }}'
        acl = policies(tmp_path, types.values(), a=text)
        rights = acl.authorizer(Caller("", "", "client", ("a",)))
        for ask in (rights.may_list, rights.may_read, rights.may_register):
            assert not ask(name, "default").allowed
