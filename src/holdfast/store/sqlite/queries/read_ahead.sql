-- How many claimable runs of a queue are served before this one, up to :limit. `line` leaps from one code to the next;
-- of each, only those are read that come before. Access: runs_line. Returns: one row.
with recursive line (code) as (
    select (select r.code from holdfast_runs as r
        where r.shard = 0 and r.queue = :queue and r.ready_ms is not null and r.barred_by is null order by r.code limit 1)
    union all
    select (select r.code from holdfast_runs as r
        where r.shard = 0 and r.queue = :queue and r.code > line.code and r.ready_ms is not null and r.barred_by is null
        order by r.code limit 1)
    from line where line.code is not null
)
select min(:limit, coalesce(sum(
    (select count(*) from (
        select 1 from holdfast_runs as r
        where r.shard = 0 and r.queue = :queue and r.code = l.code and r.suspect = s.column1
            and r.ready_ms is not null and r.barred_by is null and r.priority > :priority
        limit :limit) as b)
    + (select count(*) from (
        select 1 from holdfast_runs as r
        where r.shard = 0 and r.queue = :queue and r.code = l.code and r.suspect = s.column1
            and r.ready_ms is not null and r.barred_by is null and r.priority = :priority and (r.ready_ms, r.id) < (:ready_ms, :id)
        limit :limit) as b)), 0))
from line as l
cross join (values (0), (1)) as s
where l.code is not null
