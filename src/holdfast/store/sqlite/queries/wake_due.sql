-- Put these runs into the line. Guard: due. Access: the primary key; the plus sign keeps
-- SQLite from walking through everything that is due. Counts the runs put in line.
update holdfast_runs set
    status = iif(status = 'compensating', 'compensating', 'queued'), status_reason = :reason,
    ready_ms = :now_ms, wake_ms = null, updated_ms = :now_ms, transition_seq = transition_seq + 1
where shard = 0 and id in (select value from json_each(:run_ids)) and +wake_ms <= :now_ms
