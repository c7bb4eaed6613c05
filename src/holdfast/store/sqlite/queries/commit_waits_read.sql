-- These waits as they stand now. Rows: run id, key. Access: the primary key.
-- Returns: one JSON array of [run id, wait].
select json_group_array(json_array(w.run_id, json_array(w.key, w.seq, w.kind, w.signal, w.child_id, w.due_ms,
    w.opened_ms, w.outcome, w.closed_ms, w.result, w.error, w.child_status, w.request, w.note)))
from json_each(:rows) as b
cross join holdfast_waits as w on w.shard = 0 and w.run_id = b.value ->> 0 and w.key = b.value ->> 1
