-- Where these runs stand. Access: the primary key. Returns: one JSON array of [id, status, epoch, 1 if held].
select json_group_array(json_array(r.id, r.status, r.epoch, r.worker is not null))
from json_each(:run_ids) as b
cross join holdfast_runs as r on r.shard = 0 and r.id = b.value
