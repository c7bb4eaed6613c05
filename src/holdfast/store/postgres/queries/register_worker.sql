-- Announce a worker and open its lease; announced again, it keeps its start.
-- Index: primary key. Returns: one row, the database's time.
insert into holdfast.workers as w (
       id, queues, codes, lacks, host, pid, version, started_ms, heartbeat_ms, lease_until_ms)
select %(worker)s, %(queues)s::text[], %(codes)s::text[], %(lacks)s::jsonb, %(host)s, %(pid)s, %(version)s,
       m.now_ms, m.now_ms, m.now_ms + %(lease_ms)s::bigint
  from (select holdfast.now_ms(%(now_ms)s) as now_ms) m
    on conflict (id) do update
   set queues = excluded.queues, codes = excluded.codes, lacks = excluded.lacks, host = excluded.host, pid = excluded.pid,
       version = excluded.version, heartbeat_ms = excluded.heartbeat_ms, lease_until_ms = excluded.lease_until_ms
returning w.heartbeat_ms
