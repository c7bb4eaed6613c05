-- End runs. Columns: run id, epoch, status, terminal reason, result, error, now_ms, and the error's type,
-- message and fingerprint.
-- Guard: held at that epoch, and the move is legal: a compensating run cannot complete. Access: the primary key.
-- Counts the runs ended.
update holdfast_runs as runs set status = b.column3, status_reason = iif(b.column3 = 'stuck', b.column4, b.column3),
    terminal_reason = b.column4, result = b.column5, error = b.column6,
    error_type = b.column8, error_message = b.column9, error_fingerprint = b.column10,
    worker = null, ready_ms = null, wake_ms = null, crashes = 0, suspect = 0,
    finalized_ms = b.column7, updated_ms = b.column7, transition_seq = transition_seq + 1
from (values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) as b
where runs.shard = 0 and runs.id = b.column1
    and runs.worker is not null and runs.status in ('running', 'compensating') and runs.epoch = b.column2
    and (runs.status = 'running' or b.column3 <> 'completed')
