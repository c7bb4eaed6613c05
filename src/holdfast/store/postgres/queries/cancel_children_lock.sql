-- Lock, in the order of ids, the children that cancel_children will ask: one that is claimed or parks just now is waited
-- for, and asked as it stands then.
-- Guard: as cancel_children. Index: primary key, runs_children. Returns: nothing of use.
select count(*)
  from unnest(%(ids)s::uuid[]) as e (id)
 cross join lateral (
       select r.id
         from holdfast.runs r
        where r.shard = %(shard)s::smallint and r.id = e.id
          and (r.status = 'cancelled' or (r.status = 'compensating' and r.cancel_requested))
        limit 1) p
 cross join lateral (
       select r.id
         from holdfast.runs r
        where r.shard is not distinct from %(shard)s::smallint and r.parent_id = p.id and r.finalized_ms is null
          and r.parent_policy <> 'abandon' and not r.cancel_requested
        order by r.id
          for no key update of r) locked
