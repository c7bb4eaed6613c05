-- What others did to runs that a worker holds: :asked is [[run, keys of waits or null for all], ...].
-- Access: the primary keys.
-- Returns: one JSON array of [id, cancel requested, to be given back, closed waits], of those that have any.
select json_group_array(json_array(l.id, l.cancel_requested, l.pause_requested, json(l.closed)))
from (
    select r.id, r.cancel_requested,
        r.pause_requested or coalesce(r.aside_until_ms > :now_ms, 0) or exists (
            select 1 from holdfast_pauses as p
            where p.tenant = r.tenant and p.bar in ('tenant', 'queue:' || r.queue, 'workflow:' || r.workflow)
                and p.recalls = 1) as pause_requested,
        case when json_type(b.value, '$[1]') = 'null' then (
            select json_group_array(json_array(w.key, w.seq, w.kind, w.signal, w.child_id, w.due_ms,
                w.opened_ms, w.outcome, w.closed_ms, w.result, w.error, w.child_status, w.request, w.note))
            from holdfast_waits as w
            where w.shard = 0 and w.run_id = r.id and w.outcome is not null)
        else (
            select json_group_array(json_array(w.key, w.seq, w.kind, w.signal, w.child_id, w.due_ms,
                w.opened_ms, w.outcome, w.closed_ms, w.result, w.error, w.child_status, w.request, w.note))
            from json_each(b.value, '$[1]') as k
            cross join holdfast_waits as w on w.shard = 0 and w.run_id = r.id and w.key = k.value
            where w.outcome is not null)
        end as closed
    from json_each(:asked) as b
    cross join holdfast_runs as r on r.shard = 0 and r.id = json_extract(b.value, '$[0]') and r.worker = :worker
) as l
where l.cancel_requested = 1 or l.pause_requested = 1 or l.closed <> '[]'
