-- What the end of these runs touches. Access: waits_open, waits_child.
-- Returns: one row: whether they have open waits of their own, and a JSON array of the waits for their end, of runs of
-- the same tenant: [place in the list given, run id, wait key, 1 if held, 1 if in the line].
select
    exists (
        select 1 from json_each(:run_ids) as b
        cross join holdfast_waits as w indexed by holdfast_waits_open on w.shard = 0 and w.run_id = b.value and w.outcome is null),
    (select json_group_array(json_array(b.key, w.run_id, w.key, p.worker is not null, p.ready_ms is not null))
    from json_each(:run_ids) as b
    cross join holdfast_waits as w indexed by holdfast_waits_child
        on w.shard = 0 and w.child_id = b.value and w.outcome is null and w.child_id is not null
    cross join holdfast_runs as c on c.shard = 0 and c.id = w.child_id
    cross join holdfast_runs as p on p.shard = 0 and p.id = w.run_id and p.tenant = c.tenant)
