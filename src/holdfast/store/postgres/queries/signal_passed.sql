-- Record how far signals have come: a place, or null if they have arrived. One for all that is not kept is over then.
-- Guard: under way. Index: primary key. Returns: nothing.
update holdfast.signals s
   set passed = %(passed)s::uuid,
       consumed_ms = case when %(passed)s::uuid is null and s.run_id is null and s.expires_ms is null
                     then holdfast.now_ms(%(now_ms)s) else s.consumed_ms end
 where s.shard = %(shard)s::smallint and s.tenant = %(tenant)s and s.id = any(%(signal_ids)s::uuid[])
   and s.passed is not null
