-- Lock runs of a tenant, in the order of ids. Index: primary key. Returns: the ids of those that are there.
select locked.id
  from (select d.id from unnest(%(ids)s::uuid[]) as d (id) order by d.id) f
 cross join lateral (
       select r.id
         from holdfast.runs r
        where r.shard = %(shard)s::smallint and r.id = f.id and r.tenant is not distinct from %(tenant)s
          for no key update of r) locked
