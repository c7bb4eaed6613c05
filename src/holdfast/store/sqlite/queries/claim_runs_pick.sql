-- The first claimable runs of one queue: up to :limit that are no suspects and :suspects that are.
-- Access: runs_claim and runs_suspects, in their own order. Returns: one JSON array of [priority, ready_ms, id].
select json_group_array(json_array(p.priority, p.ready_ms, p.id))
from (
    select * from (
        select priority, ready_ms, id from runs indexed by runs_claim
        where shard = 0 and queue = :queue and ready_ms is not null and suspect = 0
            and workflow in (select value from json_each(:workflows))
        order by priority desc, ready_ms, id limit :limit)
    union all
    select * from (
        select priority, ready_ms, id from runs indexed by runs_suspects
        where shard = 0 and queue = :queue and ready_ms is not null and suspect = 1
            and workflow in (select value from json_each(:workflows))
        order by priority desc, ready_ms, id limit :suspects)
) as p
