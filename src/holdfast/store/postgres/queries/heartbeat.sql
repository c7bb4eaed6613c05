-- Extend a worker's lease, if the worker is known.
-- Index: primary key. Returns: one row, the database's time.
with moment as (
    select coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint) as now_ms
), extended as (
    update holdfast.workers w
       set heartbeat_ms = m.now_ms, lease_until_ms = m.now_ms + %(lease_ms)s::bigint
      from moment m
     where w.id = %(worker)s
)
select m.now_ms from moment m
