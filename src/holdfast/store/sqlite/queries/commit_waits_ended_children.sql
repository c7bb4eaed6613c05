-- Close child waits of which the child has ended already. Rows: run id, key.
-- Guard: open, and the child belongs to the same tenant. Access: the primary keys. Counts the waits closed.
update holdfast_waits as waits set outcome = 'child_ended', closed_ms = :now_ms, result = b.result, error = b.error, child_status = b.status
from (
    with b as materialized (
        select w.run_id, w.key, c.result, c.error, c.status
        from json_each(:rows) as v
        cross join holdfast_waits as w on w.shard = 0 and w.run_id = v.value ->> 0 and w.key = v.value ->> 1
            and w.kind = 'child' and w.outcome is null
        cross join holdfast_runs as r on r.shard = 0 and r.id = w.run_id
        cross join holdfast_runs as c on c.shard = 0 and c.id = w.child_id and c.tenant = r.tenant and c.finalized_ms is not null)
    select * from b
) as b
where waits.shard = 0 and waits.run_id = b.run_id and waits.key = b.key
