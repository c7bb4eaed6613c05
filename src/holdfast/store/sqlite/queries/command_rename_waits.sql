-- Give waits of a run other keys, because it goes on with another version of its graph. No new key is in use.
-- Guard: nobody holds the run. Access: the primary keys.
update holdfast_waits as waits set key = p.value
from json_each(:renamed) as p
where waits.shard = 0 and waits.run_id = :run_id and waits.key = p.key
    and exists (select 1 from holdfast_runs as r where r.shard = 0 and r.id = :run_id and r.worker is null)
