-- Open waits. Rows: run id, the lease's epoch, key, seq, kind, signal, child id, delay_ms, due_ms, request.
-- Guard: the run is held at that epoch. Access: the primary keys. Counts the rows written.
insert into holdfast_waits (shard, run_id, key, seq, kind, signal, child_id, due_ms, epoch, opened_ms, request, tenant)
select 0, r.id, b.value ->> 2, b.value ->> 3, b.value ->> 4, b.value ->> 5, b.value ->> 6,
    coalesce(:now_ms + (b.value ->> 7), b.value ->> 8), r.epoch, :now_ms,
    b.value ->> 9, r.tenant
from json_each(:rows) as b
cross join holdfast_runs as r on r.shard = 0 and r.id = b.value ->> 0
    and r.worker is not null and r.status in ('running', 'compensating') and r.epoch = b.value ->> 1
