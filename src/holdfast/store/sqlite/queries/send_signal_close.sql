-- Close waits with a signal's payload. Rows: run id, wait key. Guard: open. Access: the primary key.
update waits set outcome = 'signalled', closed_ms = :now_ms, result = :payload
from (
    with b as materialized (select value ->> 0 as run_id, value ->> 1 as key from json_each(:rows))
    select * from b
) as b
where waits.shard = 0 and waits.run_id = b.run_id and waits.key = b.key and waits.outcome is null
