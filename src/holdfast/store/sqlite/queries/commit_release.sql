-- Give leases back with the runs in the line, paused if that was asked, or aside for who wants to move them.
-- Rows: run id, epoch, reason.
-- Guard: held at that epoch. Access: the primary key. Counts the runs given back.
update holdfast_runs as runs set
    status = case
        when runs.pause_requested = 1 and runs.cancel_requested = 0 and runs.status = 'running' then 'paused'
        when runs.status = 'compensating' then 'compensating' else 'queued' end,
    status_reason = iif(runs.pause_requested = 1 and runs.cancel_requested = 0 and runs.status = 'running', 'paused', b.reason),
    ready_ms = iif(runs.status = 'running' and runs.cancel_requested = 0
        and (runs.pause_requested = 1 or coalesce(runs.aside_until_ms > :now_ms, 0)), null, :now_ms),
    wake_ms = iif(runs.status = 'running' and runs.cancel_requested = 0
        and runs.pause_requested = 0 and coalesce(runs.aside_until_ms > :now_ms, 0),
        min(runs.aside_until_ms, coalesce(runs.deadline_ms, runs.aside_until_ms)), null),
    pause_requested = iif(runs.pause_requested = 1 and runs.cancel_requested = 0 and runs.status = 'running', 0, pause_requested),
    worker = null, updated_ms = :now_ms, transition_seq = transition_seq + 1
from (
    with b as materialized (
        select value ->> 0 as run_id, value ->> 1 as epoch, value ->> 2 as reason from json_each(:rows))
    select * from b
) as b
where runs.shard = 0 and runs.id = b.run_id
    and runs.worker is not null and runs.status in ('running', 'compensating') and runs.epoch = b.epoch
