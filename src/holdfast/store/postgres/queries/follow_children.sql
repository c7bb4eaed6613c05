-- Child waits that were just opened for runs that have continued are for the last links of their chains.
-- Guard: the wait open, the child of the same tenant. Index: primary keys, runs_chain.
-- Returns: the ids of the runs that are waited for instead: lock them and look again.
with found as materialized (
    select w.shard, w.run_id, w.key, n.id as newest_id
      from json_to_recordset(%(waits)s::json) as l (id uuid, key text)
     cross join lateral (
           select o.shard, o.run_id, o.key, o.child_id, o.tenant
             from holdfast.waits o
            where o.shard = %(shard)s::smallint and o.run_id = l.id and o.key = l.key
              and o.child_id is distinct from null and coalesce(o.outcome, '') = ''
            limit 1) w
     cross join lateral (
           select r.chain_id
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.id = w.child_id and r.tenant is not distinct from w.tenant
              and r.continued_as_id is distinct from null
            limit 1) c
     cross join lateral (
           select r.id
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.chain_id = c.chain_id
            order by r.link desc
            limit 1) n
     where n.id <> w.child_id
)
update holdfast.waits w
   set child_id = f.newest_id
  from (select m.* from (select o.* from found o limit (select 1000000000)) m limit (select 1000000000)) f
 where w.shard = f.shard and w.run_id = f.run_id and w.key = f.key and coalesce(w.outcome, '') = ''
returning w.child_id
