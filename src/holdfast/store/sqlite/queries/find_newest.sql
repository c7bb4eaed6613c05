-- The last link of a chain. Access: runs_chain. Returns: its id and status, or no row.
select n.id, n.status from holdfast_runs as n
where n.shard = 0 and n.chain_id = :chain_id and n.chain_id is not null order by n.link desc limit 1
