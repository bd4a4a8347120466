"""Checks of the files, addresses and packages that a configuration needs before it can run.

Both ``plugind config validate`` and ``plugind agent``, when it starts, call ``check``, so they
cannot differ. The checks change nothing and leave nothing behind.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from plugind import client as http_client
from plugind.agent import identity
from plugind.cli.running import pid_file, running, settings_file, started_with
from plugind.client import DEFAULT_ADDRESS
from plugind.client.private import is_open_to_others
from plugind.client.token_file import TokenFile
from plugind.config.files import files_in
from plugind.config.restart import changed
from plugind.config.settings import CLIENT, SERVER, Settings
from plugind.errors import IdentityError, InUse, ListenError, Mistake, PlugindError, TokenError
from plugind.serve.listening import bind
from plugind.store.sqlite import FILES as STORE_FILES
from plugind.toolbox.trust import why_untrusted

SHORT_TTL = 5.0
"""Seconds; with a shorter ``server.heartbeat_ttl``, a busy machine easily counts as down."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Checked:
    """The problems of a configuration, each with its place.

    An agent does not start if there are ``mistakes``, and logs ``warnings``. ``in_use`` is about
    ports that another process uses now: a start would fail because of them as well, but they are
    not a problem if that process runs with this same configuration.
    """

    mistakes: tuple[Mistake, ...]
    warnings: tuple[Mistake, ...]
    in_use: tuple[Mistake, ...]


def check(settings: Settings) -> Checked:
    """Return the problems that keep the enabled roles from starting, or from working.

    Policies and tokens are read elsewhere (``plugind.acl.acl_of``).
    """
    return Checked(
        tuple(sorted(_mistakes(settings))),
        tuple(sorted(_warnings(settings))),
        tuple(sorted(_in_use(settings))),
    )


def _mistakes(settings: Settings) -> Iterator[Mistake]:
    if not settings.roles:
        yield settings.place().mistake(
            "neither server.enabled nor client.enabled is set: there is nothing to run; "
            "try --dev, or --config with a file like those in conf/"
        )
        return
    yield from _data_dir(settings)
    if settings.server.enabled:
        yield from _address(settings)
        log = settings.server.access_log
        if log is not None and (reason := _no_log(log)):
            yield settings.place("server", "access_log").mistake(f"server.access_log: {reason}")
        yield from _http(settings)
        yield from _acl(settings)
    if settings.client.enabled:
        yield from _client_files(settings)
    yield from untrusted(settings)


def untrusted(settings: Settings) -> Iterator[Mistake]:
    """Yield a mistake for each file of the configuration that users other than root can change.

    This applies to a process that runs an agent as root. The agent checks its token file itself, at
    each use.
    """
    if not settings.client.enabled:
        return
    client = settings.client
    named = {
        ("client", "ca_file"): client.ca_file,
        ("client", "cert_file"): client.cert_file,
        ("client", "key_file"): client.key_file,
    }
    if settings.server.enabled and settings.acl.enabled:
        named["acl", "policies"] = settings.acl.policies
        named["acl", "tokens"] = settings.acl.tokens
    for path, file in named.items():
        if file is not None and (found := _why_untrusted(file)):
            yield settings.place(*path).mistake(f"{'.'.join(path)}: {found}")


def _why_untrusted(path: Path) -> str:
    """Return which file is not safe for root, and why: the path itself or a file in it; else ""."""
    files = [path]
    with suppress(OSError):  # The path may be a file, or not exist.
        files += files_in(path)
    reasons = ((file, why_untrusted(str(file))) for file in files)
    return next((f"{file} is not read: {reason}" for file, reason in reasons if reason), "")


def _data_dir(settings: Settings) -> Iterator[Mistake]:
    folder = settings.data_dir
    if folder is None:
        yield settings.place().mistake("data_dir is not set: say where to keep data, or try --dev")
        return
    place = settings.place("data_dir")
    if reason := _no_folder(folder):
        yield place.mistake(f"data_dir: {reason}")
        return
    for file in _kept(folder, settings.roles):
        if os.path.lexists(file) and not file.is_file():
            yield place.mistake(f"data_dir: {file} is not a regular file; remove it")
            return
        if file.exists() and not os.access(file, os.R_OK | os.W_OK, effective_ids=True):
            yield place.mistake(_denied(f"data_dir: {file} cannot be read and written"))
            return
    if settings.client.enabled:
        try:
            identity.check(folder)
        except IdentityError as error:
            yield place.mistake(f"data_dir: {error}")
        except OSError as error:
            yield place.mistake(f"data_dir: {error.filename}: {error.strerror}")


def _kept(folder: Path, roles: Iterable[str]) -> Iterator[Path]:
    """Yield the files that the roles write in the folder."""
    names = {
        SERVER: STORE_FILES,
        CLIENT: [identity.ID_FILE, identity.SECRET_FILE, identity.LOCK_FILE],
    }
    for role in roles:
        yield from (folder / name for name in names[role])
        yield from (pid_file(folder, role), settings_file(folder, role))


def _no_folder(folder: Path) -> str:
    """Return why files cannot be created in a folder, or "" when they can.

    A missing folder is not a problem: it is created later.
    """
    there = folder
    while True:
        try:
            is_folder = stat.S_ISDIR(there.stat().st_mode)
            break
        except (FileNotFoundError, NotADirectoryError):
            if there.is_symlink():
                return f"{there} is a link to nothing"
            there = there.parent
        except OSError as error:
            return f"{there} cannot be examined: {error.strerror}"
    if not is_folder:
        return f"{there} is not a folder"
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        missing = "" if there == folder else f"{folder} cannot be made: "
        return _denied(f"{missing}{there} is not writable")
    return ""


def _denied(what: str) -> str:
    user = os.geteuid()
    if user == 0:
        return f"{what} by root"
    return f"{what} by user {user}; try as the user that plugind runs as"


def _address(settings: Settings) -> Iterator[Mistake]:
    try:
        bind(settings.bind_addr, settings.ports.http).close()
    except InUse:
        pass  # _in_use reports it.
    except ListenError as error:
        # Ports below 1024 need a privilege.
        is_port = isinstance(error.__cause__, PermissionError)
        place = settings.place("ports", "http") if is_port else settings.place("bind_addr")
        yield place.mistake(str(error))


def _no_log(file: Path) -> str:
    """Return why lines cannot be appended to a file, or "" when they can.

    A missing file is created later, but its folder is not.
    """
    try:
        if not file.parent.is_dir():
            return f"the folder {file.parent} does not exist"
        if not file.exists():
            return _no_folder(file.parent)
        mode = file.stat().st_mode
    except OSError as error:
        return f"{file} cannot be examined: {error.strerror}"
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
        return f"{file} is neither a regular file nor a character device"
    if not os.access(file, os.W_OK, effective_ids=True):
        return _denied(f"{file} is not writable")
    return ""


def _http(settings: Settings) -> Iterator[Mistake]:
    name = settings.server.http
    if find_spec(name) is None:
        yield settings.place("server", "http").mistake(
            f"server.http: {name} is not installed; pip install 'plugind[fast]' installs it"
        )


def _acl(settings: Settings) -> Iterator[Mistake]:
    acl = settings.acl
    if acl.enabled and acl.policies is None and acl.tokens is None:
        yield settings.place("acl", "enabled").mistake(
            "acl.enabled is true, and neither acl.policies nor acl.tokens is set: every request "
            "would be refused; name a folder of policies and a file of tokens, which may be empty"
        )


def _client_files(settings: Settings) -> Iterator[Mistake]:
    client = settings.client
    try:
        TokenFile(client.token_file).read()
    except TokenError as error:
        yield settings.place("client", "token_file").mistake(f"client.{error}")
    tls = http_client.Tls(client.ca_file, client.cert_file, client.key_file)
    for name, reason in tls.mistakes():
        yield settings.place("client", name).mistake(f"client.{name} {reason}")


def _warnings(settings: Settings) -> Iterator[Mistake]:
    if settings.server.enabled:
        yield from _times(settings)
    if settings.client.enabled:
        yield from _servers(settings)
        client = settings.client
        if settings.acl.enabled and client.token_file is None:
            yield settings.place("client", "enabled").mistake(
                "client.token_file is not set while acl.enabled is true: the agent's reports "
                "are refused, unless the policy 'anonymous' allows them"
            )
        yield from _tls(settings)


def _tls(settings: Settings) -> Iterator[Mistake]:
    client = settings.client
    if client.key_file and is_open_to_others(client.key_file):
        yield settings.place("client", "key_file").mistake(
            f"client.key_file {client.key_file} is open to other users: chmod o=,g-w "
            f"{client.key_file}"
        )
    if any(each.startswith("https:") for each in client.servers):
        return
    for name, file in {"ca_file": client.ca_file, "cert_file": client.cert_file}.items():
        if file:
            yield settings.place("client", name).mistake(
                f"client.{name} has no effect: no address in client.servers begins with https:"
            )


def _times(settings: Settings) -> Iterator[Mistake]:
    server = settings.server
    if server.heartbeat_ttl < SHORT_TTL:
        yield settings.place("server", "heartbeat_ttl").mistake(
            f"server.heartbeat_ttl is below {SHORT_TTL:.0f}s: a short delay on a busy machine or "
            "network is enough to show its node as down"
        )
    if server.gc_threshold < server.heartbeat_ttl:
        yield settings.place("server", "gc_threshold").mistake(
            "server.gc_threshold is below server.heartbeat_ttl: a node that is gone is forgotten "
            "before it is shown as down"
        )


def _servers(settings: Settings) -> Iterator[Mistake]:
    """Yield a mistake for each of ``client.servers`` that is on this machine but is not where this
    configuration's own server listens.
    """
    servers, port = settings.client.servers, settings.ports.http
    if not settings.server.enabled or servers == (DEFAULT_ADDRESS,):
        return
    for number, address in enumerate(servers):
        parts = urlsplit(address)
        asked = parts.port or (443 if parts.scheme == "https" else 80)
        if parts.hostname not in (*_LOOPBACK, settings.bind_addr):
            continue
        place = settings.place("client", "servers", number)
        name = f"client.servers[{number}]"
        if asked != port:
            yield place.mistake(
                f"{name} is {address}, but the server of this configuration listens on port "
                f"{port}: does anything else listen there?"
            )
        elif parts.scheme == "https":
            yield place.mistake(
                f"{name} is {address}, but the server of this configuration speaks plain http: "
                f"write http://{parts.netloc}"
            )


def _in_use(settings: Settings) -> Iterator[Mistake]:
    if settings.server.enabled and not _is_served_by_us(settings):
        try:
            bind(settings.bind_addr, settings.ports.http).close()
        except InUse as error:
            yield settings.place("ports", "http").mistake(str(error))
        except ListenError:
            pass  # _address reports it.


def _is_served_by_us(settings: Settings) -> bool:
    """Return whether a server is running on this data_dir and was started with this address."""
    if settings.data_dir is None:
        return False
    try:
        if running(settings.data_dir, SERVER) is None:
            return False
    except PlugindError:
        return False
    before = started_with(settings.data_dir, SERVER)
    return not {"bind_addr", "ports.http"} & {name for name, _ in changed(before, settings)}
