-- The run that a signal goes to: of a chain, the last link. Guard: of this tenant. Access: the primary key, runs_chain.
-- Returns: its status and id, and 1 if it is a link; or no row.
select coalesce(n.status, r.status), coalesce(n.id, r.id), r.chain_id is not null
from holdfast_runs as r
left join holdfast_runs as n on n.shard = 0 and r.continued_as_id is not null and n.id = (
    select c.id from holdfast_runs as c
    where c.shard = 0 and c.chain_id = r.chain_id and c.chain_id is not null order by c.link desc limit 1)
where r.shard = 0 and r.id = :run_id and r.tenant = :tenant
