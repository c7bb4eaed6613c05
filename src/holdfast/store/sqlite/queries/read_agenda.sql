-- What there is to do. `held` walks from worker to worker, however many runs each holds.
-- Access: runs_line once per line, runs_wake, runs_worker, the workers' primary key.
-- Returns: one row: 1 if something can be claimed, the next wake_ms or null, 1 if a lost worker
-- holds runs, or holds none and is to be forgotten.
with recursive held (worker) as (
    select (select r.worker from runs as r
        where r.shard = 0 and r.worker is not null order by r.worker limit 1)
    union all
    select (select r.worker from runs as r
        where r.shard = 0 and r.worker is not null and r.worker > held.worker order by r.worker limit 1)
    from held where held.worker is not null
)
select
    exists (
        select 1 from json_each(:queues) as q
        cross join json_each(:workflows) as w
        cross join runs as r on r.shard = 0 and r.queue = q.value and r.workflow = w.value and r.ready_ms is not null),
    (select min(r.wake_ms) from runs as r where r.shard = 0 and r.wake_ms is not null),
    exists (
        select 1 from held
        left join workers as w on w.id = held.worker
        where held.worker is not null and (w.id is null or w.lease_until_ms <= :now_ms))
    or exists (
        select 1 from workers as gone
        where gone.lease_until_ms < :before_ms and not exists (
            select 1 from runs as r where r.shard = 0 and r.worker is not null and r.worker = gone.id))
