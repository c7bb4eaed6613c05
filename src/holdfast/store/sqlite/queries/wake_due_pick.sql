-- The parked and delayed runs that are due, earliest first, up to :limit.
-- Access: runs_wake, waits_open. Returns: one JSON array of [id, 1 if it is its deadline and not a wait or a delay].
select json_group_array(json_array(p.id, (p.status <> 'queued' or p.wake_ms is p.deadline_ms) and not exists (
    select 1 from holdfast_waits as w
    where w.shard = 0 and w.run_id = p.id and w.outcome is null and w.due_ms <= :now_ms)))
from (
    select r.id, r.status, r.wake_ms, r.deadline_ms from holdfast_runs as r
    where r.shard = 0 and r.wake_ms is not null and r.wake_ms <= :now_ms
    order by r.wake_ms, r.id limit :limit
) as p
