-- Close a wait of a run by hand. Guard: open, and nobody holds the run. Access: the primary keys.
update holdfast_waits set outcome = :outcome, closed_ms = :updated_ms, result = :result, error = :error,
    child_status = :child_status
where shard = 0 and run_id = :run_id and key = :key and outcome is null
    and exists (select 1 from holdfast_runs as r where r.shard = 0 and r.id = :run_id and r.worker is null)
