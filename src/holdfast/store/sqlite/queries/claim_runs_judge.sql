-- Whose the runs are that would be claimed, and which pause bars them. Access: the primary keys of runs and pauses.
-- Returns: one JSON array of [id, tenant, queue, the pause or null].
select json_group_array(json_array(r.id, r.tenant, r.queue,
    (select min(p.bar) from holdfast_pauses as p
    where p.tenant = r.tenant and p.bar in ('tenant', 'queue:' || r.queue, 'workflow:' || r.workflow))))
from json_each(:run_ids) as b
cross join holdfast_runs as r on r.shard = 0 and r.id = b.value
