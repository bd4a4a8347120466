"""Checks the file system of a folder, because SQLite's shared memory works only on one machine."""

from __future__ import annotations

import re
from pathlib import Path

from plugind import logs
from plugind.errors import StoreError

MOUNTS = Path("/proc/self/mountinfo")

_NETWORK = re.compile(
    r"(nfs4?|cifs|smb3|smbfs|ncpfs|afs|9p|ceph|lustre|glusterfs|beegfs|orangefs|pvfs2"
    r"|fuse\.(sshfs|glusterfs|ceph|ceph-fuse|s3fs|rclone|davfs2?|gcsfuse|goofys|mount-s3|smbnetfs))"
)
_ESCAPE = re.compile(r"\\([0-7]{3})")
_log = logs.get("store")


def check_place(data_dir: Path, *, shared: bool, mounts: Path = MOUNTS) -> None:
    """Refuse processes that share a store a folder on a network file system: other machines see
    neither their shared memory nor all of their locks. Raise StoreError. A single process only gets
    a warning in the log."""
    try:
        kind = file_system(data_dir.resolve(), mounts.read_text(errors="replace"))
    except OSError:
        return  # the mounts are not known here
    if not _NETWORK.fullmatch(kind):
        return
    if shared:
        raise StoreError(
            f"data_dir {data_dir} is on a network file system ({kind}), where several processes "
            "cannot share it: choose a folder on a local disk"
        )
    _log.warning("data_dir is on a network file system", data_dir=data_dir, kind=kind)


def file_system(folder: Path, mounts: str) -> str:
    """Return the type of the file system that a folder is on, from the text of mountinfo
    (proc_pid_mountinfo(5)); "" if none is found."""
    found, longest = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, *_) = before.split(" "), after.split(" ")
        if len(fields) < 5:
            continue
        point = Path(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4]))
        # A later mount covers an earlier one on the same folder.
        if folder.is_relative_to(point) and len(point.parts) >= longest:
            found, longest = kind, len(point.parts)
    return found
