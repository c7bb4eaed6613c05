-- Journal the outcome that somebody gave a step of a run by hand.
-- Guard: nobody holds the run. A key that is recorded already raises. Access: the primary keys. Counts the row.
insert into holdfast_journal (shard, run_id, key, seq, kind, name, status, result, error, attempts, epoch, started_ms,
    completed_ms, settled_by)
select 0, r.id, :key, :seq, :kind, :name, :entry_status, :result, :error, :attempts, r.epoch, :updated_ms, :updated_ms,
    :settled_by
from holdfast_runs as r where r.shard = 0 and r.id = :run_id and r.worker is null
