-- The oldest signals of a name that are under way to runs that have continued are for the last links of their chains.
-- Access: signals_under_way_by_name, the primary keys, runs_chain. Counts them.
update holdfast_signals as signals set run_id = b.newest_id
from (
    with b as materialized (
        select p.id, (
            select n.id from holdfast_runs as n
            where n.shard = 0 and n.chain_id = c.chain_id and n.chain_id is not null order by n.link desc limit 1
        ) as newest_id
        from (
            select s.id, s.run_id from holdfast_signals as s indexed by holdfast_signals_under_way_by_name
            where s.shard = 0 and s.passed is not null and s.tenant = :tenant and s.name = :name and s.run_id is not null
            order by s.rowid limit :limit) as p
        cross join holdfast_runs as c on c.shard = 0 and c.id = p.run_id and c.tenant = :tenant and c.continued_as_id is not null)
    select * from b
) as b
where signals.shard = 0 and signals.tenant = :tenant and signals.id = b.id
