-- Up to :limit runs whose holder's lease has run out, lowest ids first, with the number of crashes they then have:
-- 1 if the lost lease recorded anything, else one more. Access: runs_worker, the primary keys.
-- Returns: one JSON array of [id, crashes].
select json_group_array(json_array(p.id, iif(
    exists (select 1 from holdfast_journal as j where j.shard = 0 and j.run_id = p.id and j.epoch = p.epoch)
    or exists (select 1 from holdfast_waits as w where w.shard = 0 and w.run_id = p.id and w.epoch = p.epoch)
    or exists (select 1 from holdfast_attempts as a where a.shard = 0 and a.run_id = p.id and a.epoch = p.epoch),
    1, p.crashes + 1)))
from (
    select r.id, r.epoch, r.crashes from holdfast_runs as r indexed by holdfast_runs_worker
    left join holdfast_workers as w on w.id = r.worker
    where r.shard = 0 and r.worker is not null and (w.id is null or w.lease_until_ms <= :now_ms)
    order by r.id limit :limit
) as p
