-- Who waits for runs that have continued waits for their successors, and their children that have not ended are the
-- successors'. A statement of its own: of two such runs of one batch, one may be the other's child.
-- Guard: the wait open, of the same tenant; the child not ended. Index: primary keys, waits_open_child, runs_children.
-- Returns: nothing.
with continued as materialized (
    select r.id, r.tenant, r.continued_as_id
      from unnest(%(ids)s::uuid[]) as e (id)
     cross join lateral (
           select f.id, f.tenant, f.continued_as_id
             from holdfast.runs f
            where f.shard = %(shard)s::smallint and f.id = e.id and f.continued_as_id is distinct from null
            limit 1) r
), awaited as materialized (
    select w.shard, w.run_id, w.key, c.continued_as_id
      from continued c
     cross join lateral (
           select o.shard, o.run_id, o.key, o.tenant
             from holdfast.waits o
            where o.shard = %(shard)s::smallint and o.child_id = c.id and o.outcome is null
           offset 0) w
     where w.tenant = c.tenant
), readdressed as (
    update holdfast.waits w
       set child_id = a.continued_as_id
      from (select m.* from (select o.* from awaited o limit (select 1000000000)) m limit (select 1000000000)) a
     where w.shard = a.shard and w.run_id = a.run_id and w.key = a.key and coalesce(w.outcome, '') = ''
), children as materialized (
    select k.shard, k.id, c.continued_as_id
      from continued c
     cross join lateral (
           select r.shard, r.id
             from holdfast.runs r
            where r.shard is not distinct from %(shard)s::smallint and r.parent_id = c.id and r.finalized_ms is null
            order by r.id
              for no key update of r) k
)
update holdfast.runs r
   set parent_id = k.continued_as_id
  from (select m.* from (select o.* from children o limit (select 1000000000)) m limit (select 1000000000)) k
 where r.shard = k.shard and r.id = k.id
