-- Pause the successors of runs that were to be paused. Rows: as of commit_continue.
-- Guard: to be paused, and not to be cancelled. Access: the primary key. Counts them.
update holdfast_runs as runs set status = 'paused', status_reason = 'paused', pause_requested = 0, ready_ms = null,
    transition_seq = transition_seq + 1
from (
    with b as materialized (select value ->> 2 as successor_id from json_each(:rows))
    select * from b
) as b
where runs.shard = 0 and runs.id = b.successor_id and runs.pause_requested = 1 and runs.cancel_requested = 0
