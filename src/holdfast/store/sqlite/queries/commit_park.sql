-- Give leases back while runs wait. Rows: run id, epoch, how many waits the worker believes to be open.
-- A run with fewer open waits than that goes back into the line: its wake-up came already. So does a running one that is
-- to be cancelled: the worker that parks it may not have noticed. One that compensates is not cancelled any more.
-- One that is to be paused is paused.
-- Guard: held at that epoch. Access: the primary key and waits_open. Counts the runs parked, paused or put in line.
update holdfast_runs as runs set
    status = case
        when runs.pause_requested = 1 and runs.cancel_requested = 0 and runs.status = 'running' then 'paused'
        when runs.status = 'compensating' then 'compensating'
        when b.open < b.believed or runs.cancel_requested = 1 then 'queued' else 'waiting' end,
    status_reason = iif(runs.pause_requested = 1 and runs.cancel_requested = 0 and runs.status = 'running', 'paused', 'waiting'),
    worker = null, crashes = 0, suspect = 0,
    ready_ms = case
        when runs.pause_requested = 1 and runs.cancel_requested = 0 and runs.status = 'running' then null
        when b.open < b.believed or (runs.cancel_requested = 1 and runs.status = 'running') then :now_ms end,
    wake_ms = case
        when runs.pause_requested = 1 and runs.cancel_requested = 0 and runs.status = 'running' then null
        when b.open < b.believed or (runs.cancel_requested = 1 and runs.status = 'running') then null
        else coalesce(min(b.due_ms, runs.deadline_ms), b.due_ms, runs.deadline_ms) end,
    pause_requested = iif(runs.pause_requested = 1 and runs.cancel_requested = 0 and runs.status = 'running', 0, pause_requested),
    updated_ms = :now_ms, transition_seq = transition_seq + 1
from (
    with b as materialized (
        select v.value ->> 0 as run_id, v.value ->> 1 as epoch, v.value ->> 2 as believed,
            (select count(*) from holdfast_waits as w indexed by holdfast_waits_open
            where w.shard = 0 and w.run_id = v.value ->> 0 and w.outcome is null) as open,
            (select min(w.due_ms) from holdfast_waits as w indexed by holdfast_waits_open
            where w.shard = 0 and w.run_id = v.value ->> 0 and w.outcome is null) as due_ms
        from json_each(:rows) as v)
    select * from b
) as b
where runs.shard = 0 and runs.id = b.run_id
    and runs.worker is not null and runs.status in ('running', 'compensating') and runs.epoch = b.epoch
