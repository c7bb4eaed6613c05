-- Give records of a locked run other keys, because it goes on with another version of its graph: outcomes, waits, failed
-- attempts, and the place at which its children were started. No new key is in use: that was decided before.
-- Guard: nobody holds the run. Index: primary keys, runs_children. Returns: nothing.
with pairs as materialized (
    select r.shard, r.id, p.key as old_key, p.value as new_key
      from holdfast.runs r cross join json_each_text(%(renamed)s::json) p
     where r.shard = %(shard)s::smallint and r.id = %(id)s::uuid and r.worker is null
), outcomes as (
    update holdfast.journal j
       set key = p.new_key
      from (select m.* from (select o.* from pairs o limit (select 1000000000)) m limit (select 1000000000)) p
     where j.shard = p.shard and j.run_id = p.id and j.key = p.old_key
), waited as (
    update holdfast.waits w
       set key = p.new_key
      from (select m.* from (select o.* from pairs o limit (select 1000000000)) m limit (select 1000000000)) p
     where w.shard = p.shard and w.run_id = p.id and w.key = p.old_key
), tried as (
    update holdfast.attempts a
       set key = p.new_key
      from (select m.* from (select o.* from pairs o limit (select 1000000000)) m limit (select 1000000000)) p
     where a.shard = p.shard and a.run_id = p.id and a.key = p.old_key
)
update holdfast.runs r
   set parent_key = p.new_key
  from pairs p
 where r.shard = p.shard and r.parent_id = p.id and r.parent_key = p.old_key
