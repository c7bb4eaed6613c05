-- End a worker's lease.
-- Index: primary key. Returns: nothing.
update holdfast.workers w
   set lease_until_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint)
 where w.id = %(worker)s
