"""Definitions and releases: what is stored once, numbered and found again; written once for every store.

A version is immutable: it is inserted or found, never updated, and equal content (``core.definitions.content_hash``) is
one version per tenant and workflow. A release is the last entry of its history, which only grows. What two callers
could both do is decided by the primary keys, in the inserting statement. Functions named ``..._in`` take part in the
caller's transaction; ``Catalog`` gives each a transaction of its own. All of them may be repeated: a second call finds
what the first one did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Integer, Select, Text, and_, exists, func, literal, select

from holdfast.core.definitions import (
    DefinitionError,
    Difference,
    canonical_bytes,
    check_definition,
    diff,
    find_node,
    from_json,
)
from holdfast.core.names import check_name
from holdfast.errors import (
    DefinitionNotFound,
    NodeNotFound,
    ReleaseMoved,
    ReleaseNotFound,
    StoreCorrupt,
    UsageError,
    VersionConflict,
)
from holdfast.model.catalog import (
    LIVE,
    SHORT_HASH_CHARACTERS,
    CatalogEntry,
    Put,
    ReleaseMove,
    StoredDefinition,
    Version,
)
from holdfast.model.definition import Definition, Node
from holdfast.model.ids import Tenant, UnixMs
from holdfast.store.port import Statements, Store
from holdfast.store.rendering import insert_new
from holdfast.store.tables import DEFINITIONS, RELEASES

VERSION_MAX: Final = 2**31 - 1

HEX: Final = frozenset("0123456789abcdef")
HASH_CHARACTERS: Final = 64

_D: Final = DEFINITIONS.c
_R: Final = RELEASES.c
_VERSION_COLUMNS: Final = (_D.tenant, _D.workflow, _D.version, _D.hash, _D.source, _D.created_by, _D.created_ms)
_MOVE_COLUMNS: Final = (
    _R.tenant,
    _R.workflow,
    _R.name,
    _R.number,
    _R.version,
    _R.kind,
    _R.moved_by,
    _R.moved_ms,
)


def put_in(
    statements: Statements,
    tenant: Tenant,
    definition: Definition,
    *,
    version: int | None = None,
    source: str = "client",
    created_by: str = "",
) -> Put:
    """Store a definition, or find the version that has its content already.

    The next free number is given out by the insert itself; ``version`` asks for a certain one.

    Raises:
        GraphError: the definition cannot be run; it lists every problem.
        VersionConflict: ``version`` holds other content, or this content is stored under another number.
        UsageError: ``version`` is no positive integer.
    """
    document = canonical_bytes(definition)
    digest = hashlib.sha256(document).hexdigest()
    if version is not None:
        _check_number(version)
    found = _with_hash(statements, tenant, definition.workflow, digest)
    if found is not None:
        return Put(_agreeing(found, version), created=False)
    check_definition(definition)
    values = {
        "hash": digest,
        "document": document.decode(),
        "source": check_name("source", source),
        "created_by": created_by,
        "created_ms": statements.now_ms,
    }
    while True:
        rows = statements.rows(_insert_version(tenant, definition.workflow, version, values))
        if rows:
            return Put(_version(rows[0]), created=True)
        # Somebody else stored this content, or took the number, since we looked.
        found = _with_hash(statements, tenant, definition.workflow, digest)
        if found is not None:
            return Put(_agreeing(found, version), created=False)
        if version is not None:
            why = (
                "it holds other content, and a version never changes; leave the number out to store it as the next one"
            )
            raise VersionConflict(workflow=definition.workflow, version=version, why=why)


def _insert_version(tenant: Tenant, workflow: str, version: int | None, values: Mapping[str, Any]) -> Any:
    mine = and_(_D.tenant == tenant, _D.workflow == workflow)
    number = func.coalesce(func.max(_D.version), 0) + 1 if version is None else literal(version, Integer)
    row = select(
        literal(tenant, Text),
        literal(workflow, Text),
        number,
        *(literal(values[name], Text) for name in ("hash", "document", "source", "created_by")),
        literal(values["created_ms"], BigInteger),
    )
    # An aggregate answers one row, also over none; SQLite wants the WHERE in any case.
    row = row.select_from(DEFINITIONS).where(mine) if version is None else row.where(literal(1, Integer) == 1)
    return insert_new(DEFINITIONS).from_select(list(_D), row).returning(*_VERSION_COLUMNS)


def _agreeing(found: Version, version: int | None) -> Version:
    if version is not None and found.number != version:
        why = f"this content is version {found.number} already, and equal content is one version"
        raise VersionConflict(workflow=found.workflow, version=version, why=why)
    return found


def _check_number(version: int) -> None:
    if isinstance(version, bool) or not 1 <= version <= VERSION_MAX:
        raise UsageError(f"a version is a number from 1 to {VERSION_MAX}, not {version!r}")


def _with_hash(statements: Statements, tenant: Tenant, workflow: str, digest: str) -> Version | None:
    where = and_(_D.workflow == workflow, _D.hash == digest, _D.tenant == tenant)
    rows = statements.rows(select(*_VERSION_COLUMNS).where(where))
    return _version(rows[0]) if rows else None


def find_in(
    statements: Statements, tenant: Tenant, workflow: str, *, version: int | None = None, digest: str | None = None
) -> StoredDefinition | None:
    """A version with its document, by its number or by its hash (twelve digits or more); None if there is none.

    Raises: StoreCorrupt if the stored document cannot be read or is not what was hashed.
    """
    columns = (*_VERSION_COLUMNS, _D.document)
    where = and_(_D.tenant == tenant, _D.workflow == workflow)
    where = and_(where, _D.version == version) if version is not None else where
    where = and_(where, _hash_begins(digest)) if digest is not None else where
    rows = statements.rows(select(*columns).where(where).order_by(_D.version.desc()).limit(1))
    return _stored(rows[0]) if rows else None


def find_code_in(statements: Statements, workflow: str, digest: str) -> StoredDefinition | None:
    """Any tenant's version of that name and (short) hash: for a worker, which serves all tenants."""
    where = and_(_D.workflow == workflow, _hash_begins(digest))
    rows = statements.rows(select(*_VERSION_COLUMNS, _D.document).where(where).limit(1))
    return _stored(rows[0]) if rows else None


def _hash_begins(digest: str) -> Any:
    if not _is_hash(digest):
        raise UsageError(
            f"a content hash has {SHORT_HASH_CHARACTERS} to {HASH_CHARACTERS} hex digits, not {digest!r:.80}"
        )
    # As a range, which both databases find in their index.
    return and_(_D.hash >= digest, _D.hash <= digest.ljust(HASH_CHARACTERS, "f"))


def _is_hash(text: str) -> bool:
    return SHORT_HASH_CHARACTERS <= len(text) <= HASH_CHARACTERS and set(text) <= HEX


def versions_in(
    statements: Statements, tenant: Tenant, workflow: str, *, limit: int, before: int | None
) -> list[Version]:
    """A workflow's versions, newest first; those below ``before``, if given."""
    where = and_(_D.tenant == tenant, _D.workflow == workflow)
    where = where if before is None else and_(where, _D.version < before)
    query = select(*_VERSION_COLUMNS).where(where).order_by(_D.version.desc()).limit(limit)
    return [_version(row) for row in statements.rows(query)]


def workflows_in(statements: Statements, tenant: Tenant, *, limit: int, after: str | None) -> list[CatalogEntry]:
    """The workflows with stored definitions, by name; those after ``after``, if given."""
    where = _D.tenant == tenant
    where = where if after is None else and_(where, _D.workflow > after)
    query = select(_D.workflow, func.count(), func.max(_D.version)).where(where)
    rows = statements.rows(query.group_by(_D.workflow).order_by(_D.workflow).limit(limit))
    names = [row[0] for row in rows]
    newest = _newest_moves().where(_R.tenant == tenant, _R.workflow.in_(names))
    releases: dict[str, dict[str, int]] = {}
    for move in map(_move, statements.rows(newest.order_by(_R.workflow, _R.name))):
        releases.setdefault(move.workflow, {})[move.name] = move.version
    return [
        CatalogEntry(workflow=name, versions=count, newest=number, releases=releases.get(name, {}))
        for name, count, number in rows
    ]


# Releases


def release_in(statements: Statements, tenant: Tenant, workflow: str, name: str = LIVE) -> ReleaseMove | None:
    """What the release stands for now; None if there is none of that name."""
    rows = statements.rows(_newest_moves().where(_R.tenant == tenant, _R.workflow == workflow, _R.name == name))
    return _move(rows[0]) if rows else None


def history_in(
    statements: Statements, tenant: Tenant, workflow: str, name: str, *, limit: int, before: int | None
) -> list[ReleaseMove]:
    """A release's moves, newest first; those below number ``before``, if given."""
    where = and_(_R.tenant == tenant, _R.workflow == workflow, _R.name == name)
    where = where if before is None else and_(where, _R.number < before)
    query = select(*_MOVE_COLUMNS).where(where).order_by(_R.number.desc()).limit(limit)
    return [_move(row) for row in statements.rows(query)]


def promote_in(
    statements: Statements,
    tenant: Tenant,
    workflow: str,
    version: int,
    *,
    name: str = LIVE,
    moved_by: str = "",
    expected: int | None = None,
) -> ReleaseMove:
    """Make the release stand for that version. If it does already, nothing is written.

    Args:
        expected: the number of the entry that the caller saw last, 0 for no release yet; None for any.

    Raises:
        DefinitionNotFound: there is no such version.
        ReleaseMoved: ``expected`` is not the last entry.
    """
    _check_number(version)
    if check_name("release", name).isdigit() or _is_hash(name):
        raise UsageError(f"a release cannot be called {name!r}: that would be a version's number or hash")
    return _move_release(
        statements, tenant, workflow, version, name=name, kind="promote", moved_by=moved_by, expected=expected
    )


def restore_in(
    statements: Statements,
    tenant: Tenant,
    workflow: str,
    *,
    number: int,
    name: str = LIVE,
    moved_by: str = "",
    expected: int | None = None,
) -> ReleaseMove:
    """Make the release stand again for the version of an earlier entry of its history.

    Raises:
        ReleaseNotFound: there is no such release, or no such entry.
        ReleaseMoved: ``expected`` is not the last entry.
    """
    where = and_(_R.tenant == tenant, _R.workflow == workflow, _R.name == name, _R.number == number)
    rows = statements.rows(select(_R.version).where(where))
    if not rows:
        raise ReleaseNotFound(workflow=workflow, name=name, entry=f" with an entry {number}")
    return _move_release(
        statements, tenant, workflow, rows[0][0], name=name, kind="restore", moved_by=moved_by, expected=expected
    )


def _move_release(
    statements: Statements,
    tenant: Tenant,
    workflow: str,
    version: int,
    *,
    name: str,
    kind: str,
    moved_by: str,
    expected: int | None,
) -> ReleaseMove:
    while True:
        last = release_in(statements, tenant, workflow, name)
        if last is not None and last.version == version:
            return last
        number = 0 if last is None else last.number
        if expected is not None and number != expected:
            raise ReleaseMoved(workflow=workflow, name=name, expected=expected, found=number)
        row = select(
            *(literal(value, Text) for value in (tenant, workflow, name)),
            literal(number + 1, Integer),
            _D.version,
            literal("go_live" if last is None else kind, Text),
            literal(moved_by, Text),
            literal(statements.now_ms, BigInteger),
        ).where(_D.tenant == tenant, _D.workflow == workflow, _D.version == version)
        # Guard: the version exists, and nobody else has written the next entry.
        rows = statements.rows(insert_new(RELEASES).from_select(list(_R), row).returning(*_MOVE_COLUMNS))
        if rows:
            return _move(rows[0])
        known = select(_D.version).where(_D.tenant == tenant, _D.workflow == workflow, _D.version == version)
        if not statements.rows(known):
            raise DefinitionNotFound(workflow=workflow, version=version)


def _newest_moves() -> Select[*tuple[Any, ...]]:
    later = RELEASES.alias("later")
    is_followed = exists().where(
        later.c.tenant == _R.tenant,
        later.c.workflow == _R.workflow,
        later.c.name == _R.name,
        later.c.number > _R.number,
    )
    return select(*_MOVE_COLUMNS).where(~is_followed)


# Rows


def _version(row: Sequence[Any]) -> Version:
    return Version(
        tenant=Tenant(row[0]),
        workflow=row[1],
        number=row[2],
        hash=row[3],
        source=row[4],
        created_by=row[5],
        created_ms=UnixMs(row[6]),
    )


def _stored(row: Sequence[Any]) -> StoredDefinition:
    version, document = _version(row), row[7]
    what = f"version {version.number} of workflow {version.workflow!r}"
    if hashlib.sha256(document.encode()).hexdigest() != version.hash:
        raise StoreCorrupt(what=what, why="the document is not the one that was hashed")
    try:
        return StoredDefinition(version, from_json(document))
    except DefinitionError as error:
        raise StoreCorrupt(what=what, why=str(error.why)) from error


def _move(row: Sequence[Any]) -> ReleaseMove:
    return ReleaseMove(
        tenant=Tenant(row[0]),
        workflow=row[1],
        name=row[2],
        number=row[3],
        version=row[4],
        kind=row[5],
        moved_by=row[6],
        moved_ms=UnixMs(row[7]),
    )


class Catalog:
    """Definitions and releases of a store. Each method is one transaction, blocking, and may be repeated."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(
        self,
        tenant: Tenant,
        definition: Definition,
        *,
        version: int | None = None,
        source: str = "client",
        created_by: str = "",
    ) -> Put:
        """See ``put_in``."""
        return self._store.transact(
            tenant, lambda s: put_in(s, tenant, definition, version=version, source=source, created_by=created_by)
        )

    def find(
        self, tenant: Tenant, workflow: str, *, version: int | None = None, digest: str | None = None
    ) -> StoredDefinition | None:
        """See ``find_in``; the newest version if neither is given."""
        return self._store.transact(
            tenant, lambda s: find_in(s, tenant, workflow, version=version, digest=digest), read_only=True
        )

    def get(
        self, tenant: Tenant, workflow: str, *, version: int | None = None, digest: str | None = None
    ) -> StoredDefinition:
        """As ``find``. Raises DefinitionNotFound."""
        found = self.find(tenant, workflow, version=version, digest=digest)
        if found is None:
            raise DefinitionNotFound(workflow=workflow, version=version if digest is None else digest)
        return found

    def get_named(self, tenant: Tenant, workflow: str, reference: str) -> StoredDefinition:
        """By what a person calls it: a version's number, a content hash of 12 digits or more, or a release.

        Raises: DefinitionNotFound, ReleaseNotFound.
        """

        def read(s: Statements) -> StoredDefinition | None:
            if _is_hash(reference):
                return find_in(s, tenant, workflow, digest=reference)
            if reference.isascii() and reference.isdigit():
                number = int(reference)
                return find_in(s, tenant, workflow, version=number) if number <= VERSION_MAX else None
            move = release_in(s, tenant, workflow, reference)
            if move is None:
                raise ReleaseNotFound(workflow=workflow, name=reference)
            return find_in(s, tenant, workflow, version=move.version)

        found = self._store.transact(tenant, read, read_only=True)
        if found is None:
            raise DefinitionNotFound(workflow=workflow, version=reference)
        return found

    def get_node(self, tenant: Tenant, workflow: str, version: int, key: str) -> Node:
        """A node of exactly that version. Raises DefinitionNotFound, NodeNotFound; ``find_node`` answers None."""
        node = find_node(self.get(tenant, workflow, version=version).definition, key)
        if node is None:
            raise NodeNotFound(workflow=workflow, key=key)
        return node

    def find_code(self, workflow: str, digest: str) -> StoredDefinition | None:
        """See ``find_code_in``."""
        return self._store.transact(None, lambda s: find_code_in(s, workflow, digest), read_only=True)

    def versions(self, tenant: Tenant, workflow: str, *, limit: int = 100, before: int | None = None) -> list[Version]:
        """See ``versions_in``."""
        return self._store.transact(
            tenant, lambda s: versions_in(s, tenant, workflow, limit=limit, before=before), read_only=True
        )

    def workflows(self, tenant: Tenant, *, limit: int = 100, after: str | None = None) -> list[CatalogEntry]:
        """See ``workflows_in``."""
        return self._store.transact(tenant, lambda s: workflows_in(s, tenant, limit=limit, after=after), read_only=True)

    def diff(self, tenant: Tenant, workflow: str, before: str, after: str) -> Difference:
        """What leads from one version to another, each named as for ``get_named``. Raises as that does."""
        old, new = self.get_named(tenant, workflow, before), self.get_named(tenant, workflow, after)
        return diff(old.definition, new.definition)

    def release(self, tenant: Tenant, workflow: str, name: str = LIVE) -> ReleaseMove | None:
        """See ``release_in``."""
        return self._store.transact(tenant, lambda s: release_in(s, tenant, workflow, name), read_only=True)

    def history(
        self, tenant: Tenant, workflow: str, name: str = LIVE, *, limit: int = 100, before: int | None = None
    ) -> list[ReleaseMove]:
        """See ``history_in``."""
        return self._store.transact(
            tenant, lambda s: history_in(s, tenant, workflow, name, limit=limit, before=before), read_only=True
        )

    def promote(
        self,
        tenant: Tenant,
        workflow: str,
        version: int,
        *,
        name: str = LIVE,
        moved_by: str = "",
        expected: int | None = None,
    ) -> ReleaseMove:
        """See ``promote_in``."""
        return self._store.transact(
            tenant, lambda s: promote_in(s, tenant, workflow, version, name=name, moved_by=moved_by, expected=expected)
        )

    def restore(
        self,
        tenant: Tenant,
        workflow: str,
        *,
        number: int,
        name: str = LIVE,
        moved_by: str = "",
        expected: int | None = None,
    ) -> ReleaseMove:
        """See ``restore_in``."""
        return self._store.transact(
            tenant,
            lambda s: restore_in(s, tenant, workflow, number=number, name=name, moved_by=moved_by, expected=expected),
        )
