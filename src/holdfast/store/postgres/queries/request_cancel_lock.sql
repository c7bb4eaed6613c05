-- Lock a run that is to be cancelled.
-- Index: primary key. Returns: its status and whether a worker holds it, or no row.
select r.status, r.worker is not null as held
  from holdfast.runs r
 where r.shard = %(shard)s::smallint and r.id = %(id)s::uuid and r.tenant = %(tenant)s
   for no key update of r
