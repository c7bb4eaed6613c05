-- Announce a worker and open its lease; again, it keeps only when it first started. Access: the primary key.
insert into holdfast_workers (id, queues, codes, lacks, host, pid, version, started_ms, heartbeat_ms, lease_until_ms)
values (:id, :queues, :codes, :lacks, :host, :pid, :version, :now_ms, :now_ms, :now_ms + :lease_ms)
on conflict (id) do update set queues = excluded.queues, codes = excluded.codes, lacks = excluded.lacks, host = excluded.host,
    pid = excluded.pid, version = excluded.version, heartbeat_ms = excluded.heartbeat_ms,
    lease_until_ms = excluded.lease_until_ms
