-- Take runs: the epoch is raised, so that whoever held one before is fenced.
-- Guard: still claimable and not barred. Access: the primary key. Counts the runs taken.
update holdfast_runs set
    status = iif(status = 'compensating', 'compensating', 'running'), status_reason = 'claimed',
    worker = :worker, epoch = epoch + 1, ready_ms = null, wake_ms = null,
    started_ms = coalesce(started_ms, :now_ms), updated_ms = :now_ms, transition_seq = transition_seq + 1
where shard = 0 and id in (select value from json_each(:run_ids)) and ready_ms is not null and barred_by is null
