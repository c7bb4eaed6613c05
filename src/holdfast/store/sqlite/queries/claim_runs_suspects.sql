-- Which of these runs are suspects. Access: the primary key. Returns: one JSON array of [id, 0 or 1].
select json_group_array(json_array(r.id, r.suspect))
from json_each(:run_ids) as b
cross join runs as r on r.shard = 0 and r.id = b.value
