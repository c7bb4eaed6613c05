-- Ask for the children of cancelled runs to be cancelled, as each one's policy has it, and put the unheld into the line.
-- Guard: the parent is cancelled, or undoes what it did before it is; the child has not ended and was not asked before.
-- Access: the primary key, runs_parent. Returns: a row per child: its id, 1 if it can be claimed now, 1 if it is held.
update holdfast_runs as runs set
    status = iif(status in ('waiting', 'paused'), 'queued', status), status_reason = 'cancel_requested',
    cancel_requested = 1, cancel_compensates = iif(status = 'compensating', 0, b.undoes), pause_requested = 0,
    kept_wake_ms = null, barred_by = null,
    ready_ms = iif(worker is null and status <> 'compensating', coalesce(ready_ms, :now_ms), ready_ms),
    wake_ms = iif(status = 'compensating', wake_ms, null), updated_ms = :now_ms, transition_seq = transition_seq + 1
from (
    with b as materialized (
        select c.id as child_id, p.cancel_compensates or c.parent_policy = 'request' as undoes
        from json_each(:run_ids) as v
        cross join holdfast_runs as p on p.shard = 0 and p.id = v.value
            and (p.status = 'cancelled' or (p.status = 'compensating' and p.cancel_requested = 1))
        cross join holdfast_runs as c on c.parent_id = p.id and c.finalized_ms is null and c.parent_policy <> 'abandon'
            and c.cancel_requested = 0)
    select * from b
) as b
where runs.shard = 0 and runs.id = b.child_id
returning id, ready_ms is not null, worker is not null
