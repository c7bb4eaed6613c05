-- The run to be cancelled. Guard: of this tenant. Access: the primary key. Returns: its status and 1 if held, or no row.
select status, worker is not null from runs where shard = 0 and id = :run_id and tenant = :tenant
