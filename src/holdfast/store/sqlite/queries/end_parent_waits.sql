-- Close the waits for runs that have just ended, with how they ended. Rows: the waiting run's id, the wait's key.
-- Guard: open. Access: the primary keys.
update holdfast_waits as waits set outcome = 'child_ended', closed_ms = :now_ms, result = b.result, error = b.error, child_status = b.status
from (
    with b as materialized (
        select w.run_id, w.key, c.result, c.error, c.status
        from json_each(:rows) as v
        cross join holdfast_waits as w on w.shard = 0 and w.run_id = v.value ->> 0 and w.key = v.value ->> 1 and w.outcome is null
        cross join holdfast_runs as c on c.shard = 0 and c.id = w.child_id)
    select * from b
) as b
where waits.shard = 0 and waits.run_id = b.run_id and waits.key = b.key
