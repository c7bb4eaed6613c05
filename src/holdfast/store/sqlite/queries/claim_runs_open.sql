-- What bars runs by their rows and not any more in truth, and how many may go on: at most :most each.
-- Access: runs_barred, leaping from one tenant and bar to the next; the primary keys of pauses and tenants; runs_status.
-- Returns: one JSON array of [tenant, bar, room].
with recursive held (tenant, bar) as (
    select * from (
        select r.tenant, r.barred_by from runs as r indexed by runs_barred
        where r.shard = 0 and r.tenant >= '' and r.barred_by is not null order by r.tenant, r.barred_by limit 1)
    union all
    select n.tenant, n.barred_by
    from held
    cross join runs as n on n.shard = 0 and n.id = coalesce((
        select r.id from runs as r indexed by runs_barred
        where r.shard = 0 and r.tenant = held.tenant and r.barred_by > held.bar
        order by r.barred_by limit 1), (
        select r.id from runs as r indexed by runs_barred
        where r.shard = 0 and r.tenant > held.tenant and r.barred_by is not null
        order by r.tenant, r.barred_by limit 1))
), found (tenant, bar, room) as materialized (
    select held.tenant, held.bar,
        iif(held.bar not like 'quota:%', :most, min(:most, coalesce((
            select t.running_max - (
                select count(*) from runs as h indexed by runs_status
                where h.tenant = t.tenant and h.status in ('running', 'compensating') and h.shard = 0
                    and h.worker is not null)
            from tenants as t where t.tenant = held.tenant), :most)))
    from held
    where not exists (select 1 from pauses as p where p.tenant = held.tenant and p.bar = held.bar)
        and (held.bar not like 'quota:%' or substr(held.bar, 7) in (select value from json_each(:queues)))
)
select json_group_array(json_array(found.tenant, found.bar, found.room)) from found where found.room > 0
