-- Lock runs of a tenant, in the order of ids. Index: primary key. Returns: the ids of those that are there, and
-- whether each has continued as another.
select locked.id, locked.continued_as_id is not null as continued
  from (select d.id from unnest(%(ids)s::uuid[]) as d (id) order by d.id) f
 cross join lateral (
       select r.id, r.continued_as_id
         from holdfast.runs r
        where r.shard = %(shard)s::smallint and r.id = f.id and r.tenant is not distinct from %(tenant)s
          for no key update of r) locked
