-- Close a wait with the signal that it has just consumed. Guard: open. Access: the primary key.
update waits set outcome = 'signalled', closed_ms = :now_ms, result = :payload
where shard = 0 and run_id = :run_id and key = :key and outcome is null
