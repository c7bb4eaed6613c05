-- The signals of a name that are under way, oldest first.
-- Index: signals_under_way_by_name. Returns: id, run id, payload, whether it is kept for all, how far it has come.
select s.id, s.run_id, s.payload, s.expires_ms > holdfast.now_ms(%(now_ms)s) as kept, s.passed
  from holdfast.signals s
 where s.shard = %(shard)s::smallint and s.tenant = %(tenant)s and s.name = %(name)s
   and s.passed is not null and s.consumed_ms is null
   and (s.run_id is null
        or (s.run_id = any(%(ids)s::uuid[])
            and (s.expires_ms is null or s.expires_ms > holdfast.now_ms(%(now_ms)s))))
 order by s.number
