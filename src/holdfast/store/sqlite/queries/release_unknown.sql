-- Hand back the runs that a worker holds but does not know. Guard: the worker holds them, and they are not :known.
-- Access: runs_worker. Counts the runs put in line.
update holdfast_runs set
    status = iif(status = 'compensating', 'compensating', 'queued'), status_reason = 'drained',
    worker = null, ready_ms = :now_ms, wake_ms = null, updated_ms = :now_ms, transition_seq = transition_seq + 1
where shard = 0 and worker = :worker and id not in (select value from json_each(:known))
