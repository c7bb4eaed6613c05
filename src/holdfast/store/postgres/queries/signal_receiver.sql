-- The run that a signal goes to, as the caller's transaction sees it. Index: primary key. Returns: its status, or no row.
select r.status
  from holdfast.runs r
 where r.shard = %(shard)s::smallint and r.id = %(id)s::uuid and r.tenant is not distinct from %(tenant)s
