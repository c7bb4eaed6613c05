-- The signals that have expired, up to :limit. Access: signals_expiring. Returns: one JSON array of [tenant, id].
select json_group_array(json_array(p.tenant, p.id))
from (
    select s.tenant, s.id from holdfast_signals as s
    where s.shard = 0 and s.expires_ms is not null and s.expires_ms <= :now_ms and s.passed is null
    order by s.expires_ms limit :limit
) as p
