-- What bars runs by their rows and not any more in truth, and how many may go on: at most :most each.
-- Access: runs_barred, leaping from one tenant and bar to the next; the primary keys of pauses, tenants and queues;
-- runs_status; runs_worker, once per worker and queue with a limit.
-- Returns: one JSON array of [tenant, bar, room].
with recursive barred (tenant, bar) as (
    select * from (
        select r.tenant, r.barred_by from holdfast_runs as r indexed by holdfast_runs_barred
        where r.shard = 0 and r.tenant >= '' and r.barred_by is not null order by r.tenant, r.barred_by limit 1)
    union all
    select n.tenant, n.barred_by
    from barred
    cross join holdfast_runs as n on n.shard = 0 and n.id = coalesce((
        select r.id from holdfast_runs as r indexed by holdfast_runs_barred
        where r.shard = 0 and r.tenant = barred.tenant and r.barred_by > barred.bar
        order by r.barred_by limit 1), (
        select r.id from holdfast_runs as r indexed by holdfast_runs_barred
        where r.shard = 0 and r.tenant > barred.tenant and r.barred_by is not null
        order by r.tenant, r.barred_by limit 1))
), held (worker) as (
    select (select r.worker from holdfast_runs as r indexed by holdfast_runs_worker
        where r.shard = 0 and r.worker is not null order by r.worker limit 1)
    union all
    select (select r.worker from holdfast_runs as r indexed by holdfast_runs_worker
        where r.shard = 0 and r.worker > held.worker order by r.worker limit 1)
    from held where held.worker is not null
), found (tenant, bar, room) as materialized (
    select barred.tenant, barred.bar,
        iif(substr(barred.bar, 1, 6) not in ('quota:', 'limit:'), :most, min(:most, coalesce((
            select t.running_max - (
                select count(*) from holdfast_runs as h indexed by holdfast_runs_status
                where h.tenant = t.tenant and h.status in ('running', 'compensating') and h.shard = 0
                    and h.worker is not null)
            from holdfast_tenants as t where t.tenant = barred.tenant), :most), coalesce((
            select q.running_max - (
                select count(*) from held
                cross join holdfast_runs as h indexed by holdfast_runs_worker
                    on h.shard = 0 and h.worker = held.worker and h.tenant = q.tenant and h.queue = q.queue)
            from holdfast_queues as q where q.tenant = barred.tenant and q.queue = substr(barred.bar, 7)), :most)))
    from barred
    where not exists (select 1 from holdfast_pauses as p where p.tenant = barred.tenant and p.bar = barred.bar)
        and (substr(barred.bar, 1, 6) not in ('quota:', 'limit:')
            or substr(barred.bar, 7) in (select value from json_each(:queues)))
)
select json_group_array(json_array(found.tenant, found.bar, found.room)) from found where found.room > 0
