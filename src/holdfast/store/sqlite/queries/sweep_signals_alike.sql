-- The oldest signals of a name to single runs that are under way. Access: signals_under_way_by_name.
-- Returns: one JSON array of [id, run id].
select json_group_array(json_array(p.id, p.run_id))
from (
    select s.id, s.run_id from holdfast_signals as s indexed by holdfast_signals_under_way_by_name
    where s.shard = 0 and s.passed is not null and s.tenant = :tenant and s.name = :name and s.run_id is not null
    order by s.rowid limit :limit
) as p
