-- How many runs a worker holds. Access: runs_worker. Returns: one number.
select count(*) from holdfast_runs where shard = 0 and worker = :worker
