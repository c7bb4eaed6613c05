-- Lock the oldest signal that is under way and that nobody else is at. Index: signals_under_way.
-- Returns: its tenant, id, name, run id, and how far it has come; or no row.
select s.tenant, s.id, s.name, s.run_id, s.passed
  from holdfast.signals s
 where s.shard = %(shard)s::smallint and s.passed is not null
 order by s.number
 limit 1
   for no key update of s skip locked
