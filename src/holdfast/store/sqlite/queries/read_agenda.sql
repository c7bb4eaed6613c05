-- What there is to do. `held` walks from worker to worker, however many runs each holds, and `line` from one claimable
-- code to the next, however many runs are in its line. Access: runs_line once per line, runs_wake, runs_worker, the workers' primary key.
-- Returns: one row: 1 if something can be claimed, the next wake_ms or null, 1 if a lost worker
-- holds runs, or holds none and is to be forgotten; a JSON array of
-- claimable codes that are neither in :codes nor in :unwanted; 1 if signals are under way or expired; 1 if runs are
-- barred; 1 if a batch of a bulk job is due; when a schedule is due next, or null; when a breaker is, or null.
with recursive held (worker) as (
    select (select r.worker from holdfast_runs as r
        where r.shard = 0 and r.worker is not null order by r.worker limit 1)
    union all
    select (select r.worker from holdfast_runs as r
        where r.shard = 0 and r.worker is not null and r.worker > held.worker order by r.worker limit 1)
    from held where held.worker is not null
), line (queue, code) as (
    select q.value, (select r.code from holdfast_runs as r
        where r.shard = 0 and r.queue = q.value and r.ready_ms is not null and r.barred_by is null order by r.code limit 1)
    from json_each(:queues) as q
    union all
    select line.queue, (select r.code from holdfast_runs as r
        where r.shard = 0 and r.queue = line.queue and r.code > line.code and r.ready_ms is not null and r.barred_by is null
        order by r.code limit 1)
    from line where line.code is not null
), found (code) as materialized (
    select distinct line.code from line where line.code is not null
)
select
    exists (select 1 from found where found.code in (select value from json_each(:codes))),
    (select min(r.wake_ms) from holdfast_runs as r where r.shard = 0 and r.wake_ms is not null),
    exists (
        select 1 from held
        left join holdfast_workers as w on w.id = held.worker
        where held.worker is not null and (w.id is null or w.lease_until_ms <= :now_ms))
    or exists (
        select 1 from holdfast_workers as gone
        where gone.lease_until_ms < :before_ms and not exists (
            select 1 from holdfast_runs as r where r.shard = 0 and r.worker is not null and r.worker = gone.id)),
    (select json_group_array(other.code) from (
        select found.code from found
        where found.code not in (select value from json_each(:codes))
            and found.code not in (select value from json_each(:unwanted))
        order by found.code limit :unasked_max) as other),
    exists (select 1 from holdfast_signals as s indexed by holdfast_signals_under_way where s.shard = 0 and s.passed is not null and s.passed >= '')
    or exists (
        select 1 from holdfast_signals as s
        where s.shard = 0 and s.expires_ms is not null and s.expires_ms <= :now_ms),
    exists (select 1 from holdfast_runs as r indexed by holdfast_runs_barred where r.shard = 0 and r.tenant >= '' and r.barred_by is not null),
    exists (select 1 from holdfast_bulk_jobs as b indexed by holdfast_bulk_jobs_running where b.status = 'running' and b.next_ms <= :now_ms),
    (select min(s.due_ms) from holdfast_schedules as s indexed by holdfast_schedules_due_ms where s.due_ms is not null),
    (select min(b.next_ms) from holdfast_breakers as b indexed by holdfast_breakers_next_ms where b.next_ms is not null)
