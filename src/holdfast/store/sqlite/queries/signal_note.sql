-- Note with waits why their filter failed. Rows: run id, wait key, note. Guard: open. Access: the primary key.
update holdfast_waits as waits set note = b.note
from (
    with b as materialized (
        select value ->> 0 as run_id, value ->> 1 as key, value ->> 2 as note from json_each(:rows))
    select * from b
) as b
where waits.shard = 0 and waits.run_id = b.run_id and waits.key = b.key and waits.outcome is null
