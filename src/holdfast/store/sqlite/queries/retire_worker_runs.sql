-- Hand back up to :limit of a worker's runs, lowest ids first.
-- Guard: the worker holds them. Access: runs_worker. Counts the runs handed back.
update holdfast_runs set
    status = iif(status = 'compensating', 'compensating', 'queued'), status_reason = 'drained',
    worker = null, ready_ms = :now_ms, wake_ms = null, updated_ms = :now_ms, transition_seq = transition_seq + 1
where shard = 0 and worker = :worker and id in (
    select r.id from holdfast_runs as r indexed by holdfast_runs_worker where r.shard = 0 and r.worker = :worker order by r.id limit :limit)
