-- Extend a worker's lease. Guard: the worker is registered. Access: the primary key.
update holdfast_workers set heartbeat_ms = :now_ms, lease_until_ms = :now_ms + :lease_ms
where id = :worker
