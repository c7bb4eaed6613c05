-- Which of these signal waits may have a kept signal. Rows: run id, key, signal's name.
-- Access: signals_kept. Returns: one JSON array of [run id, key, name], in the order given.
select json_group_array(json(b.value))
from json_each(:rows) as b
where exists (
    select 1 from signals as s
    where s.shard = 0 and s.run_id = b.value ->> 0 and s.name = b.value ->> 2
        and s.consumed_ms is null and s.run_id is not null)
