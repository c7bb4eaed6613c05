-- Lock a run that is to obey a command.
-- Index: primary key. Returns: its status, or no row if there is no such run or it is another tenant's.
select r.status
  from holdfast.runs r
 where r.shard = %(shard)s::smallint and r.id = %(id)s::uuid and r.tenant is not distinct from %(tenant)s
   for no key update of r
