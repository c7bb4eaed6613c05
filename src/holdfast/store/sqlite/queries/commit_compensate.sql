-- Turn running runs to compensating; the leases stay. Rows: run id, epoch, reason, error.
-- Guard: running at that epoch. Access: the primary key. Counts the runs turned.
update holdfast_runs as runs set status = 'compensating', status_reason = b.reason, error = b.error,
    updated_ms = :now_ms, transition_seq = transition_seq + 1
from (
    with b as materialized (
        select value ->> 0 as run_id, value ->> 1 as epoch, value ->> 2 as reason, value ->> 3 as error
        from json_each(:rows))
    select * from b
) as b
where runs.shard = 0 and runs.id = b.run_id
    and runs.worker is not null and runs.status = 'running' and runs.epoch = b.epoch
