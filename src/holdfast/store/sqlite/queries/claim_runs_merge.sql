-- The first claimable runs over many lines: up to :limit that are no suspects, and :suspects that are.
-- A line is one (queue, code), suspects apart. The recursion's queue holds the head of every line; what is taken
-- from it is replaced by the next run of the same line. So nothing is read but what is taken and one run per line.
-- Guard: the worker's lease has not run out.
-- Access: runs_line, once or twice for each run taken; the primary key.
-- Returns: two JSON arrays with one array each of [priority, ready_ms, id], in order; the second holds suspects.
with recursive lines (queue, code) as materialized (
    select distinct q.value, c.value from json_each(:queues) as q cross join json_each(:codes) as c
    where exists (select 1 from holdfast_workers as k where k.id = :worker and k.lease_until_ms > :now_ms)
), sound (queue, code, priority, ready_ms, id) as (
    select l.queue, l.code, r.priority, r.ready_ms, r.id
    from lines as l
    cross join holdfast_runs as r on r.shard = 0 and r.id = (
        select h.id from holdfast_runs as h indexed by holdfast_runs_line
        where h.shard = 0 and h.queue = l.queue and h.code = l.code and h.suspect = 0 and h.ready_ms is not null and h.barred_by is null
        order by h.priority desc, h.ready_ms, h.id limit 1)
    union all
    select s.queue, s.code, r.priority, r.ready_ms, r.id
    from sound as s
    cross join holdfast_runs as r on r.shard = 0 and r.id = coalesce((
        select n.id from holdfast_runs as n indexed by holdfast_runs_line
        where n.shard = 0 and n.queue = s.queue and n.code = s.code and n.suspect = 0 and n.ready_ms is not null and n.barred_by is null
            and n.priority = s.priority and (n.ready_ms, n.id) > (s.ready_ms, s.id)
        order by n.ready_ms, n.id limit 1), (
        select n.id from holdfast_runs as n indexed by holdfast_runs_line
        where n.shard = 0 and n.queue = s.queue and n.code = s.code and n.suspect = 0 and n.ready_ms is not null and n.barred_by is null
            and n.priority < s.priority
        order by n.priority desc, n.ready_ms, n.id limit 1))
    order by 3 desc, 4, 5 limit :limit
), suspects (queue, code, priority, ready_ms, id) as (
    select l.queue, l.code, r.priority, r.ready_ms, r.id
    from lines as l
    cross join holdfast_runs as r on r.shard = 0 and r.id = (
        select h.id from holdfast_runs as h indexed by holdfast_runs_line
        where h.shard = 0 and h.queue = l.queue and h.code = l.code and h.suspect = 1 and h.ready_ms is not null and h.barred_by is null
        order by h.priority desc, h.ready_ms, h.id limit 1)
    union all
    select s.queue, s.code, r.priority, r.ready_ms, r.id
    from suspects as s
    cross join holdfast_runs as r on r.shard = 0 and r.id = coalesce((
        select n.id from holdfast_runs as n indexed by holdfast_runs_line
        where n.shard = 0 and n.queue = s.queue and n.code = s.code and n.suspect = 1 and n.ready_ms is not null and n.barred_by is null
            and n.priority = s.priority and (n.ready_ms, n.id) > (s.ready_ms, s.id)
        order by n.ready_ms, n.id limit 1), (
        select n.id from holdfast_runs as n indexed by holdfast_runs_line
        where n.shard = 0 and n.queue = s.queue and n.code = s.code and n.suspect = 1 and n.ready_ms is not null and n.barred_by is null
            and n.priority < s.priority
        order by n.priority desc, n.ready_ms, n.id limit 1))
    order by 3 desc, 4, 5 limit :suspects
)
select
    (select json_array(json_group_array(json_array(priority, ready_ms, id))) from sound),
    (select json_array(json_group_array(json_array(priority, ready_ms, id))) from suspects)
