-- Lock the oldest signals of a name to single runs that are under way. Index: signals_under_way_by_name.
-- Returns: id, run id.
select s.id, s.run_id
  from holdfast.signals s
 where s.shard = %(shard)s::smallint and s.tenant = %(tenant)s and s.name = %(name)s and s.passed is not null
   and s.run_id is not null
 order by s.number
 limit %(limit)s
   for no key update of s skip locked
