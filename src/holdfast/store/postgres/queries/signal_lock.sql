-- Lock a signal for all that is under way. Index: primary key. Returns: how far it has come, or no row.
select s.passed
  from holdfast.signals s
 where s.shard = %(shard)s::smallint and s.tenant = %(tenant)s and s.id = %(signal_id)s::uuid and s.passed is not null
   for no key update of s
