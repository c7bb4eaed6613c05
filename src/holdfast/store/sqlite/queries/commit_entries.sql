-- Journal what steps came to. Columns: run id, the lease's epoch, then the entry in the order of EntryRow.
-- Guard: the run is held at that epoch. Access: the primary keys. Counts the rows written; fewer than given means
-- that the fence refused some run. A key that is recorded already raises.
insert into holdfast_journal (shard, run_id, key, seq, kind, name, status, result, error, fingerprint, input, attempts, epoch,
    started_ms, completed_ms)
select 0, b.column1, b.column3, b.column4, b.column5, b.column6, b.column7, b.column8, b.column9, b.column10, b.column11,
    b.column12, b.column13, b.column14, b.column15
from (values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) as b
cross join holdfast_runs as r on r.shard = 0 and r.id = b.column1
    and r.worker is not null and r.status in ('running', 'compensating') and r.epoch = b.column2
