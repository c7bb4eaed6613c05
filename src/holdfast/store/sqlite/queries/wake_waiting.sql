-- Put parked runs into the line because one of their waits was closed. Rows: run id, wait key.
-- Guard: parked. Access: the primary key. Counts the runs put in line.
update holdfast_runs set
    status = iif(status = 'compensating', 'compensating', 'queued'), status_reason = :reason,
    ready_ms = :now_ms, wake_ms = null, updated_ms = :now_ms, transition_seq = transition_seq + 1
where shard = 0 and id in (select value ->> 0 from json_each(:rows))
    and worker is null and ready_ms is null and status in ('waiting', 'compensating')
