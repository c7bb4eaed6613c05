-- Give leases back with the runs in the line. Rows: run id, epoch, reason.
-- Guard: held at that epoch. Access: the primary key. Counts the runs put in line.
update runs set
    status = iif(runs.status = 'compensating', 'compensating', 'queued'), status_reason = b.reason,
    worker = null, ready_ms = :now_ms, wake_ms = null, updated_ms = :now_ms, transition_seq = transition_seq + 1
from (
    with b as materialized (
        select value ->> 0 as run_id, value ->> 1 as epoch, value ->> 2 as reason from json_each(:rows))
    select * from b
) as b
where runs.shard = 0 and runs.id = b.run_id
    and runs.worker is not null and runs.status in ('running', 'compensating') and runs.epoch = b.epoch
