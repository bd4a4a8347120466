"""Users of etcd and TLS: each refusal states its reason in one line, and correct settings work."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from marshmallow import ValidationError

from plugind.errors import StoreError
from plugind.store.etcd import EtcdStore
from plugind.store.etcd.settings import EtcdSettings, EtcdSettingsSchema
from plugind.testing.stores import Rig
from plugind.testing.stores.making import node, put
from tests.ports import reserved_port
from tests.promises import COMMAND_MAXIMUM, PATIENCE, eventually
from tests.store.etcd.members import Member, etcdctl, members
from tests.support import needs

Rigs = Callable[..., Rig]
PASSWORD = "a password of etcd's user"


def refusal(rig: Rig, **settings: Any) -> str:
    """Return why a store cannot be opened."""
    with pytest.raises(StoreError) as caught:
        rig.open(**settings)
    text = str(caught.value)
    assert "\n" not in text
    assert PASSWORD not in text
    return text


def works(rig: Rig, **settings: Any) -> Any:
    store = rig.open(**settings)
    (index,) = store.commit([put(node(), base=store.newest())])
    assert isinstance(index, int)
    assert store.wait(index - 1, PATIENCE)
    return store


@pytest.fixture(scope="module")
def guarded() -> Iterator[Member]:
    """Run an etcd with users."""
    with members(1) as (member,):
        for command in (
            ["user", "add", f"root:{PASSWORD}"],
            ["user", "add", f"plugind:{PASSWORD}"],
            ["role", "add", "plugind"],
            ["role", "grant-permission", "plugind", "--prefix=true", "readwrite", "test/"],
            ["user", "grant-role", "plugind", "plugind"],
            ["user", "grant-role", "root", "root"],
            ["auth", "enable"],
        ):
            etcdctl(member, *command)
        yield member


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    return str(file)


def test_a_user_with_rights_on_the_prefix_is_enough(
    guarded: Member, rig_on: Rigs, password_file: str
) -> None:
    user = {"username": "plugind", "password_file": password_file}
    store = works(rig_on(guarded, EtcdStore), **user)
    assert store.has_duty()
    assert store.size
    opened = store._opened
    opened._upkeep.compact(*opened._reading.head())


def test_what_is_wrong_with_a_user_is_said(
    guarded: Member, etcd: Member, rig_on: Rigs, password_file: str, tmp_path: Path
) -> None:
    rig = rig_on(guarded, EtcdStore)
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    user = {"username": "plugind", "password_file": password_file}
    assert "asks for a user: set username" in refusal(rig)
    assert "refuses the user or the password" in refusal(rig, **{**user, "username": "other"})
    assert "refuses the user or the password" in refusal(
        rig, **{**user, "password_file": str(wrong)}
    )
    assert "may not read and write all keys" in refusal(rig, **user, prefix="elsewhere")
    missing = str(tmp_path / "missing")
    text = refusal(rig, **{**user, "password_file": missing})
    assert missing in text
    assert "No such file" in text
    assert "has no users" in refusal(rig_on(etcd, EtcdStore, "open"), **user)


def test_an_expired_token_is_fetched_again_for_calls_and_the_watch(
    guarded: Member, rig_on: Rigs, password_file: str
) -> None:
    rig = rig_on(guarded, EtcdStore)
    store = works(rig, username="plugind", password_file=password_file)
    opened = store._opened
    opened._client._token = "expired.1"
    index = store.newest()
    opened._client._token = "expired.1"
    opened._follower._cancel()
    (last,) = store.commit([put(node(2), base=index)])
    assert eventually(lambda: store.wait(last - 1, 1))
    assert store.contact.is_known


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make certificates in a folder: an authority, a member at 127.0.0.1, a member at another name,
    and a client."""
    needs("/usr/bin/openssl", "openssl")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words: object) -> None:
        command = ["/usr/bin/openssl", *map(str, words)]
        subprocess.run(command, check=True, capture_output=True, timeout=COMMAND_MAXIMUM)

    for name in ("ca", "other-ca"):
        files = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
        subject = ("-subj", f"/CN={name}", "-days", 1, "-nodes")
        openssl("req", "-x509", "-newkey", "rsa:2048", *subject, *files)
    names = {"member": "IP:127.0.0.1", "elsewhere": "DNS:elsewhere.example", "client": "DNS:client"}
    for name, alternative in names.items():
        key, request = folder / f"{name}.key", folder / f"{name}.csr"
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key,
                "-out", request)  # fmt: skip
        extensions = folder / f"{name}.ext"
        extensions.write_text(
            f"subjectAltName={alternative}\nextendedKeyUsage=serverAuth,clientAuth\n"
        )
        openssl("x509", "-req", "-in", request, "-CA", folder / "ca.pem", "-CAkey",
                folder / "ca.key", "-CAcreateserial", "-days", 1, "-extfile", extensions,
                "-out", folder / f"{name}.pem")  # fmt: skip
    return folder


def secure(folder: Path, certificate: str, *more: str) -> Any:
    files = ("--cert-file", str(folder / f"{certificate}.pem"))
    files += ("--key-file", str(folder / f"{certificate}.key"))
    return members(1, *files, *more, scheme="https", is_ready=False)


def test_tls_with_certificates_of_both_sides(authority: Path, rig_on: Rigs) -> None:
    required = ("--client-cert-auth", "--trusted-ca-file", str(authority / "ca.pem"))
    with secure(authority, "member", *required) as (member,):
        rig = rig_on(member, EtcdStore)
        tls = {
            "endpoints": [f"https://{member.address}"],
            "ca_file": str(authority / "ca.pem"),
            "cert_file": str(authority / "client.pem"),
            "key_file": str(authority / "client.key"),
        }
        assert eventually(lambda: _opens(rig, tls))
        works(rig, **tls)
        rig.close()
        without = {key: tls[key] for key in ("endpoints", "ca_file")}
        assert "etcd does not answer" in refusal(rig, **without)
        foreign = {**tls, "ca_file": str(authority / "other-ca.pem")}
        assert "not signed by an authority in ca_file" in refusal(rig, **foreign)
        assert "TLS" in refusal(rig, endpoints=[member.address])


def _opens(rig: Rig, settings: Any) -> bool:
    try:
        rig.open(**settings)
    except StoreError:
        return False
    return True


def test_the_name_of_each_endpoint_is_verified(authority: Path, rig_on: Rigs) -> None:
    with secure(authority, "elsewhere") as (member,):
        rig = rig_on(member, EtcdStore)
        tls = {"endpoints": [f"https://{member.address}"], "ca_file": str(authority / "ca.pem")}
        assert eventually(lambda: "for another name than the endpoint's" in refusal(rig, **tls))


def test_an_etcd_that_is_not_there_is_named(etcd: Member, rig_on: Rigs) -> None:
    with reserved_port() as port:
        address = f"127.0.0.1:{port}"
        text = refusal(rig_on(etcd, EtcdStore), endpoints=[address])
    assert f"{address}: connection refused" in text


@pytest.mark.parametrize(
    "given",
    [
        {"endpoints": []},
        {"endpoints": ["etcd.example"]},
        {"endpoints": ["http://a:1", "https://b:1"]},
        {"endpoints": ["a:70000"]},
        {"prefix": ""},
        {"prefix": "a/"},
        {"prefix": "a" * 40},
        {"username": "plugind"},
        {"cert_file": "x.pem", "endpoints": ["https://a:1"]},
        {"ca_file": "x.pem"},
        {"log_keep": "1s"},
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EtcdSettingsSchema().load(given)


def test_settings_that_are_left_out_are_those_of_an_etcd_on_this_machine() -> None:
    assert EtcdSettingsSchema().load({}) == EtcdSettings()
