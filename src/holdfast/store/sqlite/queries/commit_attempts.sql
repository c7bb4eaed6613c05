-- Record failed attempts. Rows: run id, the lease's epoch, key, attempt, error, started_ms, ended_ms.
-- Guard: the run is held at that epoch. Access: the primary keys. Counts the rows written.
insert into holdfast_attempts (shard, run_id, key, attempt, error, epoch, started_ms, ended_ms)
select 0, r.id, b.value ->> 2, b.value ->> 3, b.value ->> 4, r.epoch, b.value ->> 5, b.value ->> 6
from json_each(:rows) as b
cross join holdfast_runs as r on r.shard = 0 and r.id = b.value ->> 0
    and r.worker is not null and r.status in ('running', 'compensating') and r.epoch = b.value ->> 1
