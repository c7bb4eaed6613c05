-- Give failed attempts of a run other keys, because it goes on with another version of its graph. No new key is in use.
-- Guard: nobody holds the run. Access: the primary keys.
update holdfast_attempts as attempts set key = p.value
from json_each(:renamed) as p
where attempts.shard = 0 and attempts.run_id = :run_id and attempts.key = p.key
    and exists (select 1 from holdfast_runs as r where r.shard = 0 and r.id = :run_id and r.worker is null)
