-- The run that a signal goes to. Guard: of this tenant. Access: the primary key. Returns: its status, or no row.
select status from runs where shard = 0 and id = :run_id and tenant = :tenant
