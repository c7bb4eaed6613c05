-- What these runs have recorded so far. Access: the primary keys.
-- Returns: one row of three JSON arrays: [run id, entry], [run id, wait], [run id, attempt].
select
    (select json_group_array(json_array(j.run_id, json_array(j.key, j.seq, j.kind, j.name, j.status, j.result, j.error,
        j.fingerprint, j.input, j.attempts, j.epoch, j.started_ms, j.completed_ms, j.settled_by)))
    from json_each(:run_ids) as b
    cross join holdfast_journal as j on j.shard = 0 and j.run_id = b.value),
    (select json_group_array(json_array(w.run_id, json_array(w.key, w.seq, w.kind, w.signal, w.child_id, w.due_ms,
        w.opened_ms, w.outcome, w.closed_ms, w.result, w.error, w.child_status, w.request, w.note)))
    from json_each(:run_ids) as b
    cross join holdfast_waits as w on w.shard = 0 and w.run_id = b.value),
    (select json_group_array(json_array(a.run_id, json_array(a.key, a.attempt, a.error, a.started_ms, a.ended_ms)))
    from json_each(:run_ids) as b
    cross join holdfast_attempts as a on a.shard = 0 and a.run_id = b.value)
