-- The next runs of a tenant that wait for a signal. Access: waits_signal.
-- Returns: one JSON array of ids, in order.
select json_group_array(p.run_id)
from (
    select distinct w.run_id
    from holdfast_waits as w indexed by holdfast_waits_signal
    where w.shard = 0 and w.tenant = :tenant and w.signal = :name and w.run_id > :passed
        and w.outcome is null and w.signal is not null
    order by w.run_id limit :limit
) as p
