-- Whether anything may bar runs, and whether any are barred. Access: the tables' indexes, a row each.
-- Returns: one row: 1 if something is paused, or some tenant or queue has a limit of running runs; 1 if runs are barred.
select
    exists (select 1 from holdfast_pauses as p where p.tenant >= '') or exists (
        select 1 from holdfast_tenants as t indexed by holdfast_tenants_limited where t.running_max is not null and t.tenant >= '')
    or exists (select 1 from holdfast_queues as q where q.tenant >= ''),
    exists (select 1 from holdfast_runs as r indexed by holdfast_runs_barred where r.shard = 0 and r.tenant >= '' and r.barred_by is not null)
