-- Record new runs, in the line or delayed; the trigger runs_started writes their first transition.
-- Guard: an id that exists already is left as it is. Access: the primary key. Returns: nothing; counts the new ones.
insert into runs (shard, id, tenant, workflow, queue, status, status_reason, input, key, priority, root_id,
    parent_id, parent_key, attributes, created_ms, updated_ms, ready_ms, wake_ms, deadline_ms)
select 0, b.column1, b.column2, b.column3, b.column4, 'queued', b.column5, b.column6, b.column7, b.column8, b.column9,
    b.column10, b.column11, b.column12, b.column13, b.column13, b.column14, b.column15, b.column16
from (values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) as b
where b.column1 is not null
on conflict (shard, id) do nothing
