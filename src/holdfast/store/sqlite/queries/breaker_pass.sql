-- Close waits for a breaker. Rows: run id, wait key.
-- Guard: open. Access: the primary key. Counts the waits closed.
update holdfast_waits as waits set outcome = 'elapsed', closed_ms = :now_ms
from (
    with b as materialized (
        select v.value ->> 0 as run_id, v.value ->> 1 as key from json_each(:rows) as v)
    select * from b
) as b
where waits.shard = 0 and waits.run_id = b.run_id and waits.key = b.key and waits.outcome is null
