from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import StoreMisconfigured
from holdfast.store.sqlite import SqliteStore
from holdfast.store.sqlite.library import Version, has_wal_reset_bug
from holdfast.store.sqlite.lock import WriteLock
from holdfast.store.sqlite.mounts import network_file_system


@pytest.mark.requirement("fault-40")
@pytest.mark.parametrize(
    ("version", "has_bug"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_the_versions_with_the_wal_reset_bug_are_known(version: Version, has_bug: bool) -> None:
    assert has_wal_reset_bug(version) is has_bug


def test_a_library_that_lacks_what_the_statements_need_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreMisconfigured, match=r"3\.37\.2.*3\.38\.0 or later"):
        SqliteStore(str(tmp_path / "new.db"), library=(3, 37, 2))


@pytest.mark.requirement("fault-40")
def test_a_flawed_library_is_refused_where_files_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(StoreMisconfigured, match="WAL-reset bug"):
        WriteLock(str(tmp_path / "new.db"), timeout_ms=1, has_file_locks=False)


@pytest.mark.requirement("fault-38")
@pytest.mark.parametrize(
    ("path", "kind"),
    [("/srv/ann/x.db", None), ("/mnt/share/x.db", "nfs4"), ("/mnt/shared/x.db", None), ("/mnt/my disk/x.db", "cifs")],
)
def test_a_network_file_system_is_recognised(path: str, kind: str | None) -> None:
    mounts = "/dev/vda / ext4 rw 0 0\nnas:/x /mnt/share nfs4 rw 0 0\n//nas/y /mnt/my\\040disk cifs rw 0 0\nbroken\n"

    assert network_file_system(path, mounts) == kind


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_a_store_needs_a_file(path: str) -> None:
    with pytest.raises(StoreMisconfigured, match="needs a file"):
        SqliteStore(path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_text("Dear Sir or Madam, this is not a database. " * 100)
    store = SqliteStore(str(path))

    with pytest.raises(StoreMisconfigured, match="not a database"):
        store.check_schema()

    store.close()
