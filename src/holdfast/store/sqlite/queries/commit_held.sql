-- How many of these runs pass the fence, for commits that write no row of their own. Rows: run id, epoch.
-- Guard: the run is held at that epoch. Access: the primary key. Returns: one number.
select count(*)
from json_each(:rows) as b
cross join holdfast_runs as r on r.shard = 0 and r.id = b.value ->> 0
    and r.worker is not null and r.status in ('running', 'compensating') and r.epoch = b.value ->> 1
