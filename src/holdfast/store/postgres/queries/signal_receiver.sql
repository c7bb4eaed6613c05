-- The run that a signal goes to, as the caller's transaction sees it: of a chain, the last link.
-- Index: primary key, runs_chain. Returns: its status, or no row.
select coalesce(n.status, r.status) as status
  from holdfast.runs r
  left join lateral (
       select l.status
         from holdfast.runs l
        where l.shard = %(shard)s::smallint and l.chain_id = r.chain_id and r.continued_as_id is distinct from null
        order by l.link desc
        limit 1) n on true
 where r.shard = %(shard)s::smallint and r.id = %(id)s::uuid and r.tenant is not distinct from %(tenant)s
