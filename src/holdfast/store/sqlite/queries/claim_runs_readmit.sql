-- Put barred runs back into the line that claims read, where they stood. Access: runs_barred, the primary key.
-- Counts the runs.
update holdfast_runs set barred_by = null
where shard = 0 and id in (
    select r.id from holdfast_runs as r indexed by holdfast_runs_barred
    where r.shard = 0 and r.tenant = :tenant and r.barred_by = :bar
    order by r.priority desc, r.ready_ms, r.id limit :room)
