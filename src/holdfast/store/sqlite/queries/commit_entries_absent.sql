-- Which runs' entries are not in the journal, after commit_entries wrote fewer than it was given.
-- Rows: run id, key, epoch. Access: the primary key. Returns: one JSON array of run ids.
select json_group_array(b.value ->> 0)
from json_each(:rows) as b
where not exists (
    select 1 from holdfast_journal as j where j.shard = 0 and j.run_id = b.value ->> 0 and j.key = b.value ->> 1 and j.epoch = b.value ->> 2)
