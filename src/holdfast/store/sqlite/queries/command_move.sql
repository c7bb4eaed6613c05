-- Write what a command makes of a run; the trigger runs_moved writes the transition.
-- Guard: the run is where it was when it was decided what to do: its status, its epoch and its holder;
-- it follows the version that was seen, and has not been moved since by anything, if the decision depends on that.
-- Access: the primary key. Counts 1, or 0 if it was elsewhere.
update holdfast_runs set status = :status, status_reason = :status_reason, terminal_reason = :terminal_reason,
    error = iif(:keeps_error, error, null), error_type = iif(:keeps_error, error_type, null),
    error_message = iif(:keeps_error, error_message, null),
    error_fingerprint = iif(:keeps_error, error_fingerprint, null), queue = :queue, priority = :priority, worker = :worker, epoch = :epoch,
    crashes = :crashes, suspect = :crashes >= 2, cancel_requested = :cancel_requested,
    cancel_compensates = :cancel_compensates, pause_requested = :pause_requested, ready_ms = :ready_ms,
    wake_ms = :wake_ms, kept_wake_ms = :kept_wake_ms, aside_until_ms = :aside_until_ms, barred_by = null, version = :version, definition_hash = :definition_hash,
    code = :code, deadline_ms = :deadline_ms, finalized_ms = :finalized_ms,
    updated_ms = :updated_ms, transition_seq = transition_seq + 1
where shard = 0 and id = :run_id and tenant = :tenant and status = :from_status and epoch = :from_epoch
    and worker is :from_worker and definition_hash is :from_hash and (:seen_seq is null or transition_seq = :seen_seq)
