-- Ask for a run to be cancelled.
-- Guard: held or compensating, and not asked before. Index: primary key. Returns: one row if it was not asked before.
update holdfast.runs r
   set cancel_requested = true, updated_ms = holdfast.now_ms(%(now_ms)s)
 where r.shard = %(shard)s::smallint and r.id = %(id)s::uuid and r.tenant = %(tenant)s
   and (r.worker is not null or r.status = 'compensating') and not r.cancel_requested
returning r.id
