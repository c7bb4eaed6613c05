-- End a worker's lease. Access: the primary key.
update holdfast_workers set lease_until_ms = :now_ms
where id = :worker
