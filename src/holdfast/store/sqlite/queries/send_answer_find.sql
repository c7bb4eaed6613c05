-- The approval that an answer is for. Access: the primary keys.
-- Returns: the wait's outcome, answer_id, opened_ms and request, 1 if its run is held, 1 if in the line; or no row.
select w.outcome, w.answer_id, w.opened_ms, w.request, r.worker is not null, r.ready_ms is not null
from holdfast_waits as w
cross join holdfast_runs as r on r.shard = 0 and r.id = w.run_id and r.tenant = :tenant
where w.shard = 0 and w.run_id = :run_id and w.key = :key and w.kind = 'approval'
