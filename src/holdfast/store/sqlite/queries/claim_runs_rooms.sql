-- How many more runs of these tenants and queues may be claimed. `held` leaps from one worker to the next.
-- Access: the primary keys of tenants and queues; runs_status; runs_worker, once per worker and queue with a limit.
-- Returns: one JSON array of [tenant, queue, room of the tenant or null, room of the queue or null].
with recursive held (worker) as (
    select (select r.worker from holdfast_runs as r indexed by holdfast_runs_worker
        where r.shard = 0 and r.worker is not null order by r.worker limit 1)
    union all
    select (select r.worker from holdfast_runs as r indexed by holdfast_runs_worker
        where r.shard = 0 and r.worker > held.worker order by r.worker limit 1)
    from held where held.worker is not null
)
select json_group_array(json_array(b.value ->> 0, b.value ->> 1,
    (select t.running_max - (
        select count(*) from holdfast_runs as h indexed by holdfast_runs_status
        where h.tenant = t.tenant and h.status in ('running', 'compensating') and h.shard = 0 and h.worker is not null)
    from holdfast_tenants as t where t.tenant = b.value ->> 0 and t.running_max is not null),
    (select q.running_max - (
        select count(*) from held
        cross join holdfast_runs as h indexed by holdfast_runs_worker
            on h.shard = 0 and h.worker = held.worker and h.tenant = q.tenant and h.queue = q.queue)
    from holdfast_queues as q where q.tenant = b.value ->> 0 and q.queue = b.value ->> 1)))
from json_each(:lines) as b
