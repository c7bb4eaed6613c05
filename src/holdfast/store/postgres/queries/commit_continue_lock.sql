-- Lock, in the order of ids, the parents of runs that are about to continue, before these themselves: who cancels a
-- parent, or lets it continue too, has looked for its children before, or finds the successors.
-- Index: primary key. Returns: nothing of use.
select count(*)
  from (select distinct c.parent_id
          from unnest(%(ids)s::uuid[]) as e (id)
         cross join lateral (
               select r.parent_id
                 from holdfast.runs r
                where r.shard = %(shard)s::smallint and r.id = e.id
                limit 1) c
         order by c.parent_id) f
 cross join lateral (
       select r.id
         from holdfast.runs r
        where r.shard = %(shard)s::smallint and r.id = f.parent_id
          for share of r) locked
