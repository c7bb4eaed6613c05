-- Copy closed waits of one run to another. Guard: closed. Access: the primary keys.
insert into holdfast_waits (shard, run_id, key, seq, kind, signal, child_id, due_ms, epoch, opened_ms, outcome, closed_ms, result,
    error, child_status, request, note, tenant, answer_id)
select 0, :id, w.key, w.seq, w.kind, w.signal, w.child_id, w.due_ms, 0, w.opened_ms, w.outcome, w.closed_ms, w.result,
    w.error, w.child_status, w.request, w.note, w.tenant, w.answer_id
from json_each(:keys) as k
cross join holdfast_waits as w on w.shard = 0 and w.run_id = :source_id and w.key = k.value and w.outcome is not null
