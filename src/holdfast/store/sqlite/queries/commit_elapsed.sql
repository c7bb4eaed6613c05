-- Close waits whose time has come, those that are due by the store's clock. Rows: run id, the lease's epoch, key.
-- Guard: open, due, and the run is held at that epoch. Access: the primary keys.
update holdfast_waits as waits set outcome = 'elapsed', closed_ms = :now_ms
from (
    with b as materialized (
        select r.id as run_id, v.value ->> 2 as key
        from json_each(:rows) as v
        cross join holdfast_runs as r on r.shard = 0 and r.id = v.value ->> 0
            and r.worker is not null and r.status in ('running', 'compensating') and r.epoch = v.value ->> 1)
    select * from b
) as b
where waits.shard = 0 and waits.run_id = b.run_id and waits.key = b.key
    and waits.outcome is null and waits.due_ms <= :now_ms
