-- The first claimable runs of each of a few lines: up to :limit that are no suspects, and :suspects that are.
-- A line is one (queue, code), suspects apart. Reading each one's first runs in one sweep is quicker than merging
-- run by run as claim_runs_merge does, as long as the lines are few.
-- Guard: the worker's lease has not run out.
-- Access: runs_line, once per line, in its own order.
-- Returns: two JSON arrays of an array per line of [priority, ready_ms, id]; the second holds suspects.
with lines (queue, code) as materialized (
    select distinct q.value, c.value from json_each(:queues) as q cross join json_each(:codes) as c
    where exists (select 1 from holdfast_workers as k where k.id = :worker and k.lease_until_ms > :now_ms)
)
select
    (select json_group_array(json((
        select json_group_array(json_array(p.priority, p.ready_ms, p.id))
        from (
            select r.priority, r.ready_ms, r.id from holdfast_runs as r indexed by holdfast_runs_line
            where r.shard = 0 and r.queue = l.queue and r.code = l.code and r.suspect = 0 and r.ready_ms is not null and r.barred_by is null
            order by r.priority desc, r.ready_ms, r.id limit :limit) as p)))
    from lines as l),
    (select json_group_array(json((
        select json_group_array(json_array(p.priority, p.ready_ms, p.id))
        from (
            select r.priority, r.ready_ms, r.id from holdfast_runs as r indexed by holdfast_runs_line
            where r.shard = 0 and r.queue = l.queue and r.code = l.code and r.suspect = 1 and r.ready_ms is not null and r.barred_by is null
            order by r.priority desc, r.ready_ms, r.id limit :suspects) as p)))
    from lines as l)
