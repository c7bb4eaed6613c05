-- Close a wait with the signal that it has just consumed. Guard: open. Access: the primary keys.
update waits set outcome = 'signalled', closed_ms = :now_ms, result = (
    select s.payload from runs as r
    cross join signals as s on s.shard = 0 and s.tenant = r.tenant and s.run_id = r.id and s.wait_key = :key
    where r.shard = 0 and r.id = :run_id)
where shard = 0 and run_id = :run_id and key = :key and outcome is null
