-- Ask for a run to be cancelled. Guard: held or compensating, not asked before. Access: the primary key.
-- Counts 1, or 0 if there was nothing to ask.
update runs set cancel_requested = 1, updated_ms = :now_ms
where shard = 0 and id = :run_id and (worker is not null or status = 'compensating') and cancel_requested = 0
