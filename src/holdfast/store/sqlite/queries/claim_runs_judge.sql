-- What bars the runs that would be claimed: a pause, and their tenant's quota.
-- Access: the primary keys of runs, pauses and tenants; runs_status.
-- Returns: one JSON array of [id, tenant, queue, the pause or null, how many more the tenant may run or null].
select json_group_array(json_array(r.id, r.tenant, r.queue,
    (select min(p.bar) from pauses as p
    where p.tenant = r.tenant and p.bar in ('tenant', 'queue:' || r.queue, 'workflow:' || r.workflow)),
    (select t.running_max - (
        select count(*) from runs as h indexed by runs_status
        where h.tenant = t.tenant and h.status in ('running', 'compensating') and h.shard = 0 and h.worker is not null)
    from tenants as t where t.tenant = r.tenant and t.running_max is not null)))
from json_each(:run_ids) as b
cross join runs as r on r.shard = 0 and r.id = b.value
