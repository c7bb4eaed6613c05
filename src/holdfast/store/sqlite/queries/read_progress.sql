-- How far runs have come. Access: the primary keys. Returns: one JSON array of [id, status, epoch, seq, attempts].
select json_group_array(json_array(r.id, r.status, r.epoch,
    max(coalesce((select max(j.seq) from holdfast_journal as j where j.shard = 0 and j.run_id = r.id), 0),
        coalesce((select max(w.seq) from holdfast_waits as w where w.shard = 0 and w.run_id = r.id), 0)),
    (select count(*) from holdfast_attempts as a where a.shard = 0 and a.run_id = r.id)))
from json_each(:run_ids) as b
cross join holdfast_runs as r on r.shard = 0 and r.id = b.value
