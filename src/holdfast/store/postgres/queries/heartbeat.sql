-- Extend a worker's lease, if the worker is known.
-- Index: primary key. Returns: one row, the database's time.
with moment as (
    select holdfast.now_ms(%(now_ms)s) as now_ms
), extended as (
    update holdfast.workers w
       set heartbeat_ms = m.now_ms, lease_until_ms = m.now_ms + %(lease_ms)s::bigint
      from moment m
     where w.id = %(worker)s
)
select m.now_ms from moment m
