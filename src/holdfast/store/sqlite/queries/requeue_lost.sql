-- Take runs from lost workers: the epoch is raised, so that those are fenced. Rows: run id, crashes.
-- Guard: held. Access: the primary key. Counts the runs put in line.
update holdfast_runs as runs set
    status = iif(status = 'compensating', 'compensating', 'queued'), status_reason = 'worker_lost',
    worker = null, epoch = epoch + 1, crashes = b.crashes, suspect = b.crashes >= 2,
    ready_ms = :now_ms, wake_ms = null, updated_ms = :now_ms, transition_seq = transition_seq + 1
from (
    with b as materialized (select value ->> 0 as run_id, value ->> 1 as crashes from json_each(:rows))
    select * from b
) as b
where runs.shard = 0 and runs.id = b.run_id and runs.worker is not null
