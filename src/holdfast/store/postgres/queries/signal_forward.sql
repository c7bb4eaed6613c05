-- Signals of a name that are under way to runs that have continued are for the last links of their chains: these ones,
-- or all of the name if null.
-- Index: signals_under_way_by_name, primary keys, runs_chain. Returns: the ids of those that were, and their new runs.
with found as materialized (
    select s.shard, s.tenant, s.id, n.id as newest_id
      from holdfast.signals s
     cross join lateral (
           select r.chain_id
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.id = s.run_id and r.tenant is not distinct from s.tenant
              and r.continued_as_id is distinct from null
            limit 1) c
     cross join lateral (
           select r.id
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.chain_id = c.chain_id
            order by r.link desc
            limit 1) n
     where s.shard = %(shard)s::smallint and s.tenant = %(tenant)s and s.name = %(name)s and s.passed is not null
       and s.run_id is not null and n.id <> s.run_id
       and (%(signal_ids)s::uuid[] is null or s.id = any(%(signal_ids)s::uuid[]))
)
update holdfast.signals s
   set run_id = f.newest_id
  from (select m.* from (select o.* from found o limit (select 1000000000)) m limit (select 1000000000)) f
 where s.shard = f.shard and s.tenant = f.tenant and s.id = f.id and s.passed is not null
returning s.id, s.run_id
