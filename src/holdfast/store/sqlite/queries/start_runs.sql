-- Record new runs, in the line or delayed; the trigger runs_started writes their first transition.
-- Guard: an id that exists already is left as it is. Access: the primary key. Returns: nothing; counts the new ones.
insert into holdfast_runs (shard, id, tenant, workflow, version, definition_hash, code, queue, status, status_reason, input, key,
    priority, root_id, parent_id, parent_key, parent_policy, attributes, created_ms, updated_ms, ready_ms, wake_ms,
    deadline_ms)
select 0, b.column1, b.column2, b.column3, b.column4, b.column5,
    case when b.column5 is null then b.column3 else b.column3 || '@' || substr(b.column5, 1, 12) end, b.column6,
    'queued', b.column7, b.column8, b.column9, b.column10, b.column11, b.column12, b.column13, b.column14, b.column15,
    b.column16, b.column16, b.column17, b.column18, b.column19
from (values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) as b
where b.column1 is not null
on conflict (shard, id) do nothing
