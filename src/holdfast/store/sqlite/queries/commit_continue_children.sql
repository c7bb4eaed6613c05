-- The children of runs that continue which have not ended are their successors' from now on. Rows: as of
-- commit_continue. Access: runs_parent, the primary key.
update holdfast_runs as runs set parent_id = (select o.continued_as_id from holdfast_runs as o where o.shard = 0 and o.id = runs.parent_id)
where shard = 0 and id in (
    select c.id from json_each(:rows) as v
    cross join holdfast_runs as c on c.parent_id = v.value ->> 0 and c.finalized_ms is null)
