-- Which of these ids exist already. Access: the primary key. Returns: one JSON array of ids.
select json_group_array(r.id)
from json_each(:run_ids) as b
cross join holdfast_runs as r on r.shard = 0 and r.id = b.value
