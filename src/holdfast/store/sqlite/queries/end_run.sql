-- End a run that no worker is to move any more: cancelled while unheld, or set aside.
-- Guard: not ended. Access: the primary key. Counts 1, or 0 if it had ended.
update holdfast_runs set status = :status, status_reason = :reason, terminal_reason = :terminal_reason,
    epoch = epoch + :epoch_step, crashes = coalesce(:crashes, crashes), worker = null, ready_ms = null, wake_ms = null,
    finalized_ms = :now_ms, updated_ms = :now_ms, transition_seq = transition_seq + 1
where shard = 0 and id = :run_id and finalized_ms is null
