-- End runs that continue as others. Rows: run id, epoch, the successor's id, its input.
-- Guard: held at that epoch, running. Access: the primary key. Counts the runs ended.
update holdfast_runs as runs set status = 'completed', status_reason = 'continued', terminal_reason = 'continued',
    continued_as_id = b.successor_id, chain_id = coalesce(runs.chain_id, runs.id), link = coalesce(runs.link, 1),
    worker = null, ready_ms = null, wake_ms = null, crashes = 0, suspect = 0,
    finalized_ms = :now_ms, updated_ms = :now_ms, transition_seq = transition_seq + 1
from (
    with b as materialized (
        select value ->> 0 as run_id, value ->> 1 as epoch, value ->> 2 as successor_id from json_each(:rows))
    select * from b
) as b
where runs.shard = 0 and runs.id = b.run_id and runs.worker is not null and runs.status = 'running'
    and runs.epoch = b.epoch
