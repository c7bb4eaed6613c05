-- Give records of a locked run other keys, because it goes on with another version of its graph: outcomes, waits, failed
-- attempts, and the place at which its children were started. No new key is in use: that was decided before.
-- Guard: nobody holds the run. Index: primary keys, runs_children. Returns: nothing.
with pairs as materialized (
    select p.key as old_key, p.value as new_key
      from json_each_text(%(renamed)s::json) p
     where exists (select from holdfast.runs r
                    where r.shard = %(shard)s::smallint and r.id = %(id)s::uuid and r.worker is null)
), outcomes as (
    update holdfast.journal j
       set key = p.new_key
      from pairs p
     where j.shard = %(shard)s::smallint and j.run_id = %(id)s::uuid and j.key = p.old_key
), waited as (
    update holdfast.waits w
       set key = p.new_key
      from pairs p
     where w.shard = %(shard)s::smallint and w.run_id = %(id)s::uuid and w.key = p.old_key
), tried as (
    update holdfast.attempts a
       set key = p.new_key
      from pairs p
     where a.shard = %(shard)s::smallint and a.run_id = %(id)s::uuid and a.key = p.old_key
)
update holdfast.runs r
   set parent_key = p.new_key
  from pairs p
 where r.shard = %(shard)s::smallint and r.parent_id = %(id)s::uuid and r.parent_key = p.old_key
