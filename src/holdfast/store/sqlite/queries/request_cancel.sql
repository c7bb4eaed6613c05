-- Ask the worker that holds a run to cancel it. Guard: held, not asked before. Access: the primary key.
-- Counts 1, or 0 if there was nothing to ask.
update runs set cancel_requested = 1, updated_ms = :now_ms
where shard = 0 and id = :run_id and worker is not null and cancel_requested = 0
