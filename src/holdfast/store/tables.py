"""The tables as SQLAlchemy sees them, for listings and whatever else is not hot; the DDL files have the last word.

Names are the same on both databases but for what stands before them: the schema ``holdfast.`` on PostgreSQL, the prefix
``holdfast_`` on SQLite (``rendering``). Types are what PostgreSQL's are; on SQLite ids and payloads are text.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, MetaData, SmallInteger, Table, Text, Uuid

METADATA: Final = MetaData()


def _id(name: str) -> Column[str]:
    return Column(name, Uuid(as_uuid=False))


def _texts(*names: str) -> list[Column[str]]:
    return [Column(name, Text) for name in names]


def _times(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger) for name in names]


RUNS: Final = Table(
    "runs",
    METADATA,
    Column("shard", SmallInteger, primary_key=True),
    Column("id", Uuid(as_uuid=False), primary_key=True),
    *_texts("tenant", "workflow"),
    Column("version", Integer),
    *_texts(
        "definition_hash",
        "code",
        "queue",
        "status",
        "status_reason",
        "terminal_reason",
        "input",
        "result",
        "error",
        "key",
    ),
    Column("priority", Integer),
    _id("root_id"),
    _id("retry_of_id"),
    Column("attempt", Integer),
    _id("forked_from_id"),
    _id("chain_id"),
    Column("link", Integer),
    _id("continued_from_id"),
    _id("continued_as_id"),
    _id("parent_id"),
    *_texts("parent_key", "parent_policy", "attributes", "worker"),
    Column("epoch", BigInteger),
    Column("crashes", Integer),
    Column("suspect", Integer),
    Column("cancel_requested", Integer),
    Column("cancel_compensates", Integer),
    Column("pause_requested", Integer),
    Column("transition_seq", Integer),
    *_times("created_ms", "updated_ms", "ready_ms", "wake_ms", "kept_wake_ms", "deadline_ms", "started_ms"),
    *_times("finalized_ms", "aside_until_ms"),
    *_texts("barred_by", "error_type", "error_message", "error_fingerprint"),
)

JOURNAL: Final = Table(
    "journal",
    METADATA,
    Column("shard", SmallInteger, primary_key=True),
    Column("run_id", Uuid(as_uuid=False), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("seq", Integer),
    *_texts("kind", "name", "status", "result", "error", "fingerprint", "input"),
    Column("attempts", Integer),
    Column("epoch", BigInteger),
    *_times("started_ms", "completed_ms"),
    *_texts("settled_by"),
)

WAITS: Final = Table(
    "waits",
    METADATA,
    Column("shard", SmallInteger, primary_key=True),
    Column("run_id", Uuid(as_uuid=False), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("seq", Integer),
    *_texts("kind", "signal"),
    _id("child_id"),
    *_times("due_ms"),
    Column("epoch", BigInteger),
    *_times("opened_ms"),
    *_texts("outcome"),
    *_times("closed_ms"),
    *_texts("result", "error", "child_status", "request", "note", "tenant"),
    _id("answer_id"),
)

ATTEMPTS: Final = Table(
    "attempts",
    METADATA,
    Column("shard", SmallInteger, primary_key=True),
    Column("run_id", Uuid(as_uuid=False), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    *_texts("error"),
    Column("epoch", BigInteger),
    *_times("started_ms", "ended_ms"),
)

SIGNALS: Final = Table(
    "signals",
    METADATA,
    Column("shard", SmallInteger, primary_key=True),
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("tenant", Text, primary_key=True),
    *_texts("name"),
    _id("run_id"),
    *_texts("payload"),
    *_times("sent_ms", "consumed_ms"),
    *_texts("wait_key"),
    *_times("expires_ms"),
    _id("passed"),
)

RECEIPTS: Final = Table(
    "receipts",
    METADATA,
    Column("shard", SmallInteger, primary_key=True),
    Column("signal_id", Uuid(as_uuid=False), primary_key=True),
    Column("run_id", Uuid(as_uuid=False), primary_key=True),
    *_texts("tenant", "wait_key"),
    *_times("consumed_ms"),
)

TRANSITIONS: Final = Table(
    "transitions",
    METADATA,
    Column("shard", SmallInteger, primary_key=True),
    Column("run_id", Uuid(as_uuid=False), primary_key=True),
    Column("seq", Integer, primary_key=True),
    *_texts("from_status", "to_status", "reason", "key", "worker"),
    Column("epoch", BigInteger),
    *_times("at_ms"),
    *_texts("actor", "note"),
    _id("command_id"),
    *_texts("moved"),
    Column("position", BigInteger),
)

BULK_JOBS: Final = Table(
    "bulk_jobs",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("id", Uuid(as_uuid=False), primary_key=True),
    *_texts("action", "filter", "query", "status"),
    *[Column(name, BigInteger) for name in ("expected", "done", "failed")],
    Column("rate", Integer),
    *_texts("actor", "note", "stopped_by", "batch", "cursor", "holder"),
    Column("revision", BigInteger),
    *_times("created_ms", "updated_ms", "ended_ms", "next_ms", "held_until_ms"),
)

BULK_ERRORS: Final = Table(
    "bulk_errors",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("job_id", Uuid(as_uuid=False), primary_key=True),
    Column("run_id", Uuid(as_uuid=False), primary_key=True),
    *_texts("code", "message"),
    *_times("at_ms"),
)

PRUNINGS: Final = Table(
    "prunings",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("position", BigInteger),
    *_times("pruned_ms"),
)

WORKERS: Final = Table(
    "workers",
    METADATA,
    Column("id", Text, primary_key=True),
    *_texts("queues", "codes", "lacks", "host"),
    Column("pid", Integer),
    *_texts("version"),
    *_times("started_ms", "heartbeat_ms", "lease_until_ms"),
)

ATTRIBUTES: Final = Table(
    "attributes",
    METADATA,
    Column("shard", SmallInteger, primary_key=True),
    Column("run_id", Uuid(as_uuid=False), primary_key=True),
    Column("name", Text, primary_key=True),
    *_texts("tenant", "kind", "text"),
    Column("number", Double),
    *_times("created_ms"),
)

TENANTS: Final = Table(
    "tenants",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("queued_max", BigInteger),
    Column("running_max", BigInteger),
    Column("payload_bytes_max", BigInteger),
    Column("stored_bytes_max", BigInteger),
    *_times("retention_ms", "changed_ms"),
)

ACCOUNTS: Final = Table(
    "byte_accounts",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("stored_bytes", BigInteger),
    *_times("counted_ms", "next_ms"),
)

QUEUES: Final = Table(
    "queues",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("queue", Text, primary_key=True),
    Column("running_max", BigInteger),
    *_times("set_ms"),
    *_texts("actor", "note"),
)

BREAKERS: Final = Table(
    "breakers",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    *_texts("state"),
    Column("term", BigInteger),
    *_texts("failures"),
    Column("trips", Integer),
    *_times("opened_ms", "retry_ms"),
    *_texts("prober"),
    *_times("probe_until_ms"),
    Column("flow", Integer),
    *_times("flow_ms"),
    Column("rate", Integer),
    _id("passed"),
    *_times("next_ms"),
    Column("revision", BigInteger),
    *_times("changed_ms"),
    *_texts("actor", "note"),
)

PAUSES: Final = Table(
    "pauses",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("bar", Text, primary_key=True),
    *_texts("kind", "name"),
    Column("recalls", Boolean),
    *_times("since_ms"),
    *_texts("actor", "note"),
)

DEFINITIONS: Final = Table(
    "definitions",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("workflow", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    *_texts("hash", "document", "source", "created_by"),
    *_times("created_ms"),
)

RELEASES: Final = Table(
    "releases",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("workflow", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("version", Integer),
    *_texts("kind", "moved_by"),
    *_times("moved_ms"),
)

PROJECTS: Final = Table(
    "projects",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("id", Uuid(as_uuid=False), primary_key=True),
    *_texts("name", "created_by"),
    *_times("created_ms"),
)

MEMBERS: Final = Table(
    "members",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("project_id", Uuid(as_uuid=False), primary_key=True),
    Column("subject", Text, primary_key=True),
    *_texts("role", "added_by"),
    *_times("added_ms"),
)

WORKFLOWS: Final = Table(
    "workflows",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("id", Uuid(as_uuid=False), primary_key=True),
    _id("project_id"),
    *_texts("name"),
    Column("head", Integer),
    Column("newest", Integer),
    *_texts("saved_by"),
    *_times("saved_ms"),
    *_texts("created_by"),
    *_times("created_ms", "deleted_ms"),
)

DRAFTS: Final = Table(
    "drafts",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("workflow_id", Uuid(as_uuid=False), primary_key=True),
    _id("project_id"),
    Column("base_version", Integer),
    Column("revision", Integer),
    *_texts("document", "updated_by"),
    *_times("updated_ms"),
)

TRIGGERS: Final = Table(
    "triggers",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("id", Uuid(as_uuid=False), primary_key=True),
    _id("project_id"),
    _id("workflow_id"),
    *_texts("name", "kind"),
    Column("enabled", Boolean),
    *_texts("path", "document"),
    Column("revision", Integer),
    *_texts("updated_by"),
    *_times("updated_ms"),
)

AUDIT: Final = Table(
    "audit",
    METADATA,
    Column("number", BigInteger, primary_key=True),
    *_texts("tenant"),
    _id("project_id"),
    _id("workflow_id"),
    *_texts("subject", "action", "facts"),
    *_times("at_ms"),
)

SUBSCRIPTIONS: Final = Table(
    "subscriptions",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("workflow", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    *_times("created_ms"),
)

OUTBOX: Final = Table(
    "outbox",
    METADATA,
    Column("shard", SmallInteger, primary_key=True),
    Column("run_id", Uuid(as_uuid=False), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("subscription", Text, primary_key=True),
    *_texts("tenant", "workflow", "key", "status", "reason", "error_type", "error_message", "failed"),
    *_times("ended_ms", "lease_until_ms"),
    Column("deliveries", Integer),
)

SCHEDULES: Final = Table(
    "schedules",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    *_texts("workflow", "document", "input", "declared_by"),
    *_times("next_ms", "due_ms", "queued_ms", "last_ms"),
    *_texts("recent"),
    Column("ticks", BigInteger),
    Column("revision", BigInteger),
    *_texts("problem"),
    *_times("paused_ms"),
    *_texts("actor", "note"),
    *_times("created_ms", "changed_ms"),
)

SCHEDULE_TICKS: Final = Table(
    "schedule_ticks",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("schedule", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    *_times("slot_ms", "until_ms"),
    Column("slots", Integer),
    *_texts("cause", "outcome"),
    Column("started_run_id", Uuid(as_uuid=False)),
    *_times("at_ms"),
)
